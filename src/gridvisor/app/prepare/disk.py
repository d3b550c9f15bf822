"""What is on a disk that was named for guests, by lsblk(8), wipefs(8) and pvs(8): nothing, or a reason to leave it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gridvisor.core.errors import ToolOutput
from gridvisor.core.units import format_size

# NAME, since a tree is made of that column alone (lsblk(8), --tree); without it nothing would be upon a disk.
LSBLK = "lsblk --json --bytes --output NAME,PATH,TYPE,SIZE,MODEL,RO,MOUNTPOINT,FSTYPE,PTTYPE"
PVS = "pvs --segments --reportformat json -o pv_name,vg_name,lv_name"
# A thin pool takes nine tenths, and at least 2 GiB of it have to be free.
SMALLEST_BYTES = 3 << 30
_PHYSICAL_VOLUME = "LVM2_member"
_TABLES = ("dos", "gpt", "PMBR", "mac", "sun", "bsd", "sgi", "atari")


@dataclass(frozen=True, slots=True)
class Device:
    """A block device and those that are made of it. `kind` is 'disk', 'part', 'lvm' ..., `format` what is on it."""

    path: str
    kind: str
    size_bytes: int
    model: str
    read_only: bool
    mounted: str
    formats: tuple[str, ...]
    below: tuple[Device, ...]

    def all(self) -> Iterator[Device]:
        """Itself, and all that is made of it."""
        yield self
        for one in self.below:
            yield from one.all()

    def __str__(self) -> str:
        return ", ".join((f"{self.path} ({format_size(self.size_bytes)}", *([self.model] if self.model else []))) + ")"


@dataclass(frozen=True, slots=True)
class Named:
    """A disk as the user named it, where that leads, and the signatures that are read from the disk itself."""

    name: str
    path: str
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhysicalVolume:
    """A physical volume of LVM, its group ('' for none), and what is on it; its thin pool's name, if it has one."""

    path: str
    group: str
    volumes: tuple[str, ...]

    @property
    def has_pool(self) -> bool:
        """Whether the data of a thin pool are here."""
        return any(name.endswith("_tdata]") for name in self.volumes)

    @property
    def is_empty(self) -> bool:
        """Whether no data are here. LVM keeps a spare for the tables of any pool, anywhere."""
        return all(name.endswith("_pmspare]") for name in self.volumes)


def parse_lsblk(said: str) -> tuple[Device, ...]:
    """The devices that `LSBLK` tells of. Raises ToolOutput."""
    try:
        return tuple(_device(node) for node in json.loads(said)["blockdevices"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What lsblk says cannot be read: {error}\n{said[:400]}") from error


def _device(node: dict[str, Any]) -> Device:
    return Device(
        path=node["path"],
        kind=node["type"],
        size_bytes=int(node["size"]),
        model=(node["model"] or "").strip(),
        read_only=node["ro"] in (True, "1"),
        mounted=node["mountpoint"] or "",
        formats=tuple(one for one in (node["pttype"], node["fstype"]) if one),
        below=tuple(_device(child) for child in node.get("children", ())),
    )


def parse_wipefs(said: str) -> tuple[str, ...]:
    """The kinds of the signatures that `wipefs --json` tells of; it says nothing of a disk without any."""
    try:
        return tuple(dict.fromkeys(one["type"] for one in json.loads(said)["signatures"])) if said.strip() else ()
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What wipefs says cannot be read: {error}\n{said[:400]}") from error


def parse_pvs(said: str) -> tuple[PhysicalVolume, ...]:
    """The physical volumes that `PVS` tells of; without LVM there are none."""
    if not said.strip():
        return ()
    try:
        [report] = json.loads(said)["report"]
        groups = {one["pv_name"]: one["vg_name"] for one in report["pvseg"]}
        held = [(one["pv_name"], one["lv_name"]) for one in report["pvseg"] if one["lv_name"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What pvs says cannot be read: {error}\n{said[:400]}") from error
    return tuple(
        PhysicalVolume(path, group, tuple(dict.fromkeys(volume for where, volume in held if where == path)))
        for path, group in groups.items()
    )


def what_is_on(named: Named, devices: Sequence[Device], volumes: Sequence[PhysicalVolume], *, group: str) -> str | None:
    """Why the disk is left alone, in words that go on from its name; None for one that is empty, or of `group`.

    A physical volume of no group holds nothing: a run that was killed leaves one, or somebody has made it ready.
    """
    device = next((one for root in devices for one in root.all() if one.path == named.path), None)
    if device is None:
        return "is no block device there"
    if device.kind != "disk":
        return f"is no disk but a device of the kind '{device.kind}'"
    mine = next((one for one in volumes if one.path == device.path), None)
    if mine is not None and mine.group == group:
        return None
    found = list(_uses(device))
    for format in dict.fromkeys((*device.formats, *named.signatures)):
        if format in _TABLES:
            found.append(f"has a partition table ({format})")
        elif format != _PHYSICAL_VOLUME:
            found.append(f"has the signature of '{format}'")
        elif mine is None:
            found.append("is a physical volume of LVM")
        elif mine.group:
            found.append(f"is a physical volume of the volume group '{mine.group}'")
    if not found and device.below:
        found.append(f"is part of {', '.join(one.path for one in device.below)}")
    if not found and device.read_only:
        found.append("cannot be written to")
    if not found and device.size_bytes < SMALLEST_BYTES:
        found.append(f"has {format_size(device.size_bytes)}, and guests need {format_size(SMALLEST_BYTES)}")
    return ", and ".join(found) or None


def looks_empty(device: Device) -> bool:
    """Whether nothing is known to be on it: one to propose, which is looked at more closely when it is named."""
    unused = not (device.formats or device.below or device.mounted or device.read_only)
    return device.kind == "disk" and unused and device.size_bytes >= SMALLEST_BYTES


def _uses(device: Device) -> Iterator[str]:
    mounted = [(one.path, one.mounted) for one in device.all() if one.mounted]
    if "/" in (where for _, where in mounted):
        yield "is the disk of the system itself"
    for path, where in mounted:
        yield f"is mounted at {where}" if path == device.path else f"{path} is mounted at {where}"
