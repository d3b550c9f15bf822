"""Which physical disk holds what, as lsblk(8) shows it: through partitions, LVM, RAID and encryption alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from gridvisor.core.errors import ToolOutput

LSBLK = "lsblk --json --bytes --output NAME,TYPE,SIZE,MODEL,MOUNTPOINT"


@dataclass(frozen=True, slots=True)
class Held:
    """A block device with nothing upon it: its name for the kernel, where it is mounted, its size in bytes."""

    name: str
    mounted: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A physical disk, and what is lost with it. What lies on several disks is held by each of them."""

    name: str
    model: str
    size_bytes: int
    holds: tuple[Held, ...]


def parse_lsblk(said: str) -> tuple[Disk, ...]:
    """The disks that `LSBLK` tells of. Raises ToolOutput for what cannot be read."""
    try:
        nodes = [node for node in json.loads(said)["blockdevices"] if node["type"] == "disk"]
        return tuple(
            Disk(node["name"], (node["model"] or "").strip(), int(node["size"]), tuple(dict.fromkeys(_leaves(node))))
            for node in nodes
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What lsblk says cannot be read: {error}\n{said[:400]}") from error


def name_of(path: str) -> str:
    """What the kernel calls the device of that path; '/dev/vg0/a-b' is 'vg0-a--b' (lvm(8), "VALID NAMES")."""
    parts = PurePosixPath(path).parts
    if len(parts) == 4 and parts[2] != "mapper":
        return "-".join(part.replace("-", "--") for part in parts[2:])
    return parts[-1]


def _leaves(node: dict[str, Any]) -> Iterator[Held]:
    below = node.get("children", ())
    if not below or node["mountpoint"]:
        yield Held(node["name"], node["mountpoint"] or "", int(node["size"]))
    for child in below:
        yield from _leaves(child)
