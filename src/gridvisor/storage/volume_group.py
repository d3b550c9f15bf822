"""What LVM says of a volume group, read: its logical volumes, and where it has room for more."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gridvisor.core.errors import ToolOutput
from gridvisor.storage.placement import Spot

TAG = "gridvisor"  # on all that is ours
MAKING = "gridvisor.making"  # on a volume that is not whole yet
GROUP, BACKING = "gridvisor.group=", "gridvisor.image="  # whose it is, and the image that it is a clone of
_FIELDS = "lv_name,lv_size,origin_size,lv_tags,lv_attr,pool_lv,origin,data_percent"
# Scripts that take the name of the group, and a command of LVM to which volumes are added.
LIST = f'lvs --reportformat json --units b --nosuffix -o {_FIELDS} "$1"'
SEGMENTS = """\
pvs --segments --reportformat json --units b --nosuffix -o pv_name,pv_free,lv_name --select "vg_name = $1"
"""
SIZES = "lvs --noheadings --nosuffix --units b --nameprefixes -o lv_name,lv_size,origin_size"
_SIZE = re.compile(r"LVM2_LV_NAME='([^']+)' LVM2_LV_SIZE='(\d+)' LVM2_ORIGIN_SIZE='(\d*)'")


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """A logical volume as `lvs` shows it; `room_bytes` are what it may take of its group, a snapshot's its changes."""

    name: str
    size_bytes: int
    room_bytes: int
    tags: tuple[str, ...]
    attributes: str
    pool: str
    origin: str
    used_percent: float | None

    @property
    def used_bytes(self) -> int:
        """What it has taken of its room; a thin snapshot is said to use what it shares, too."""
        return self.room_bytes if self.used_percent is None else int(self.room_bytes * self.used_percent / 100)

    def told(self, prefix: str) -> str | None:
        """What a tag of that prefix says; None when it has none."""
        return next((tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix)), None)


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """The volume group at one moment. Its `spots` are thin pools if it is `pooled`, else physical volumes."""

    volumes: tuple[LogicalVolume, ...]
    all_spots: tuple[Spot, ...]
    pooled: bool

    @property
    def spots(self) -> tuple[Spot, ...]:
        """Where volumes can be put, each with our volumes that are there; golden ones are no machine's."""
        ours = {one.name for one in self.volumes if any(tag.startswith(GROUP) for tag in one.tags)}
        return tuple(
            replace(spot, volumes=tuple(name for name in spot.volumes if name in ours)) for spot in self.all_spots
        )

    def golden(self, image: Path, spot: Spot) -> str | None:
        """The name of the volume on that spot which holds the image; None when there is none that is whole."""
        [there] = [one.volumes for one in self.all_spots if one.name == spot.name]
        whole = {one.name for one in self.volumes if TAG in one.tags}
        names = (golden_name(image), f"{golden_name(image)}.{spot.name.rpartition('/')[2]}")
        return next((name for name in names if name in there and name in whole), None)

    def where(self, spot: Spot) -> tuple[str, str]:
        """The spot for lvcreate(8): the name of a thin pool, and of a physical volume; one of them is empty."""
        return (spot.name, "") if self.pooled else ("", spot.name)

    def reads_zeros(self, lv: str) -> bool:
        """Whether a new volume holds zeros: its thin pool says so in the 8th of lvs(8)'s attributes."""
        pool = next((one.pool for one in self.volumes if one.name == lv), "")
        return any(one.name == pool and one.attributes[7:8] == "z" for one in self.volumes)


def parse_lvs(said: str) -> tuple[LogicalVolume, ...]:
    """The logical volumes of `lvs --reportformat json`. Raises ToolOutput for what is none."""
    try:
        [report] = json.loads(said)["report"]
        return tuple(
            LogicalVolume(
                name=one["lv_name"],
                size_bytes=int(one["origin_size"] or one["lv_size"]),
                room_bytes=int(one["lv_size"]),
                tags=tuple(tag for tag in one["lv_tags"].split(",") if tag),
                attributes=one["lv_attr"],
                pool=one["pool_lv"],
                origin=one["origin"],
                used_percent=float(one["data_percent"]) if one["data_percent"] else None,
            )
            for one in report["lv"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What lvs says cannot be read: {error}\n{said[:400]}") from error


def parse_sizes(said: str, lvs: Sequence[str]) -> Sequence[int]:
    """The bytes of these logical volumes, by `SIZES`. Raises ToolOutput when one is not among them."""
    sizes = {name: int(origin or size) for name, size, origin in _SIZE.findall(said)}
    try:
        return [sizes[lv] for lv in lvs]
    except KeyError as error:
        raise ToolOutput(f"lvs does not say how large {error} is: {said[:400]!r}") from error


def golden_name(image: Path) -> str:
    """What a golden volume of that image is called; of several, all but the first have their spot's name behind it."""
    return f"{TAG}.image.{image.parent.name}"


def thin_pools(seen: Sequence[LogicalVolume]) -> tuple[Spot, ...]:
    """The thin pools, by name, each with what is in it."""
    pools = sorted((one for one in seen if one.attributes.startswith("t")), key=lambda one: one.name)
    return tuple(
        Spot(
            pool.name,
            pool.size_bytes - pool.used_bytes,
            tuple(one.name for one in seen if one.pool == pool.name),
        )
        for pool in pools
    )


def parse_segments(said: str) -> tuple[Spot, ...]:
    """The physical volumes of `pvs --segments`, each with what is on it. Raises ToolOutput for what is none."""
    try:
        [report] = json.loads(said)["report"]
        [rows] = report.values()  # "pvseg" by lvm 2.03.31
        free = {one["pv_name"]: int(one["pv_free"]) for one in rows}
        there = {(one["pv_name"], one["lv_name"]) for one in rows if one["lv_name"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"What pvs says cannot be read: {error}\n{said[:400]}") from error
    return tuple(
        Spot(disk, free_bytes, tuple(sorted(lv for on, lv in there if on == disk)))
        for disk, free_bytes in sorted(free.items())
    )
