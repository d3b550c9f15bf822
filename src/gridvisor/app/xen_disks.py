"""Which machines die with which disk of a Xen host."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gridvisor.core.errors import ToolOutput
from gridvisor.monitor.xen.listing import DOM0
from gridvisor.run.command import script
from gridvisor.run.target import Target
from gridvisor.storage.disks import LSBLK, Disk, name_of, parse_lsblk

_LOOK_S = 60.0
_MARK = "=== gridvisor ==="
_LOOK = f"{LSBLK}\necho '{_MARK}'\nxl list --long"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A disk of dom0's machine, and the domains that lose a volume with it; all of them when dom0 is among these."""

    disk: Disk
    domains: tuple[str, ...]

    @property
    def shared(self) -> bool:
        """Whether guests have volumes on the disk that dom0 itself lives on: each waits for the other's writes."""
        return DOM0 in self.domains and len(self.domains) > 1


def disks_of(dom0: Target) -> tuple[DiskUse, ...]:
    """The disks of that dom0 that are in use, and by whom. Raises Unreachable, CommandFailed, ToolOutput."""
    disks, domains = dom0.run(script(_LOOK), timeout_s=_LOOK_S).stdout.split(f"{_MARK}\n")
    return uses(parse_lsblk(disks), parse_long(domains))


def uses(disks: tuple[Disk, ...], volumes: dict[str, tuple[str, ...]]) -> tuple[DiskUse, ...]:
    """Whose volumes, by their paths, lie on which disk; dom0 lives where `/` is."""

    def users(disk: Disk) -> tuple[str, ...]:
        names = {held.name for held in disk.holds}
        dom0 = (DOM0,) if any(held.mounted == "/" for held in disk.holds) else ()
        return dom0 + tuple(sorted(one for one, paths in volumes.items() if names & {name_of(path) for path in paths}))

    return tuple(DiskUse(disk, users(disk)) for disk in disks if disk.holds)


def parse_long(said: str) -> dict[str, tuple[str, ...]]:
    """The paths of each domain's disks by `xl list --long`, dom0 left out. Raises ToolOutput for what it is not."""
    try:
        domains: list[dict[str, Any]] = [one["config"] for one in json.loads(said)]
        return {
            one["c_info"]["name"]: tuple(disk["pdev_path"] for disk in one.get("disks", ()) if "pdev_path" in disk)
            for one in domains
            if one["c_info"].get("name", DOM0) != DOM0
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What xl list --long says cannot be read: {error}\n{said[:400]}") from error
