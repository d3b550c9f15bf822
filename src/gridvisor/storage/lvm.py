"""A pool in a volume group of LVM, on the machine whose dom0 `target` is: what the paper makes with lvcreate.

A volume `name` of the volume group itself is the logical volume `name`; one of a group inside of it, such as
'site.kiam-test', is `site.kiam-test.name`. A clone is a snapshot of a golden volume, which holds the image, is
read-only, and is named by the image's id: in the thin pool when there is one (lvmthin(7)), else a snapshot with room
for all of it. What is ours has the tag `gridvisor`; nothing else is ever removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.files import locked
from gridvisor.run.command import CommandFailed, script
from gridvisor.run.target import Target
from gridvisor.storage.filling import Fill
from gridvisor.storage.pool import Volume, checked_name

TAG = "gridvisor"
_MAKING = "gridvisor.making"  # on a volume that is not whole yet
_GROUP, _BACKING = "gridvisor.group=", "gridvisor.image="
_LVM_S = 120.0
_FIELDS = "lv_name,lv_size,origin_size,lv_tags,lv_attr,pool_lv,origin,data_percent"
_LIST = f'lvs --reportformat json --units b --nosuffix -o {_FIELDS} "$1"'
# With the tag of what is being made, so that a killed run's volume is known for what it is, and replaced.
_NEW = """\
group=$1 name=$2 size=$3 pool=$4
shift 4
for tag; do
    set -- "$@" --addtag "$tag"
    shift
done
set -- --yes --wipesignatures n --name "$name" "$@"
if [ -n "$pool" ]; then
    lvcreate -q "$@" --virtualsize "${size}b" --thinpool "$pool" "$group" >&2
else
    lvcreate -q "$@" --size "${size}b" "$group" >&2
fi
"""
_CLONE = f"""\
group=$1 name=$2 golden=$3 size=$4 pool=$5 mine=$6 backing=$7
set -- --yes --snapshot --name "$name" --permission rw --addtag {TAG} --addtag "$mine" --addtag "$backing"
if [ -n "$pool" ]; then
    lvcreate -q "$@" --setactivationskip n "$group/$golden" >&2
else
    lvcreate -q "$@" --size "${{size}}b" "$group/$golden" >&2
fi
"""
_READ_ONLY = 'lvchange -q --permission r "$1" >&2'
_WHOLE = f'lvchange -q --deltag {_MAKING} --addtag {TAG} "$1" >&2'
_REMOVE = 'lvremove -q --yes "$1" >&2'
_LABEL = 'mke2fs -q -t ext4 -m 0 -E "$3" -L "$2" "$1"'
# What reads as zeros need not have them written: 2 GiB of a thin pool took an emulated dom0 a minute of its busiest.
_ZEROS, _ANYTHING = "assume_storage_prezeroed=1", "lazy_itable_init=1"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A logical volume as `lvs` shows it; `room_bytes` are what it may take of its group, a snapshot's its changes."""

    name: str
    size_bytes: int
    room_bytes: int
    tags: tuple[str, ...]
    attributes: str
    pool: str
    origin: str
    used_percent: float | None


class LvmPool:
    """The volumes of `group` in the volume group `vg`; see storage.pool.VolumePool.

    `fill` brings images there, each one once; `locks` is a folder of this machine.
    """

    def __init__(self, target: Target, vg: str, group: str, *, fill: Fill, locks: Path) -> None:
        self._target = target
        self._vg = checked_name(vg)
        self._group = checked_name(group)
        self._fill = fill
        self._locks = locks

    def list(self) -> Sequence[Volume]:
        """See VolumePool.list."""
        mine = {TAG, f"{_GROUP}{self._group}"}
        seen = self._look()
        golden = {one.name: one for one in seen}
        found = (self._volume(one, golden.get(one.origin)) for one in seen if mine <= set(one.tags))
        return tuple(sorted(found, key=lambda volume: volume.name))

    def find(self, name: str) -> Volume | None:
        """See VolumePool.find."""
        checked_name(name)
        return next((volume for volume in self.list() if volume.name == name), None)

    def create(self, name: str, size_bytes: int, *, label: str | None = None) -> Volume:
        """See VolumePool.create."""
        seen = self._look()
        self._require_new(name, seen)
        whole = self._make(self._name(name), size_bytes, seen, f"{_GROUP}{self._group}")
        if label is not None:
            self._run(_LABEL, str(self.path_of(name)), label, _ZEROS if _reads_zeros(seen) else _ANYTHING)
        whole()
        return self._required(name)

    def bring(self, image: Path) -> None:
        """See VolumePool.bring."""
        golden = _golden(image)
        with locked(self._locks / f"{self._vg}.{golden}.lock"):  # machines of one image are made side by side
            seen = self._look()
            if not any(one.name == golden and TAG in one.tags for one in seen):
                self._bring(image, golden, seen)

    def clone(self, name: str, image: Path) -> Volume:
        """See VolumePool.clone."""
        seen = self._look()
        self._require_new(name, seen)
        size_bytes = image.stat().st_size
        golden = _golden(image)
        if not any(one.name == golden and TAG in one.tags for one in seen):
            self.bring(image)
        # Of a snapshot outside of a thin pool, what is written is all that it takes: no more than the image and what
        # LVM notes of each piece.
        room = size_bytes + size_bytes // 64 + (8 << 20)
        tags = (f"{_GROUP}{self._group}", f"{_BACKING}{quote(str(image), safe='/').replace('%', '#')}")
        self._run(_CLONE, self._vg, self._name(name), golden, str(room), _thin_pool(seen), *tags)
        return self._required(name)

    def _bring(self, image: Path, golden: str, seen: Sequence[_Seen]) -> None:
        whole = self._make(golden, image.stat().st_size, seen)
        self._fill(image, f"/dev/{self._vg}/{golden}", is_empty=bool(_thin_pool(seen)))
        self._run(_READ_ONLY, f"{self._vg}/{golden}")
        whole()

    def remove(self, name: str) -> None:
        """See VolumePool.remove."""
        lv = self._name(name)
        seen = next((one for one in self._look() if one.name == lv), None)
        if seen is None:
            return
        if not {TAG, _MAKING} & set(seen.tags):
            raise Refused(f"'{self._vg}/{seen.name}' is not a volume that gridvisor made; it is left alone.")
        self._run(_REMOVE, f"{self._vg}/{seen.name}")

    def path_of(self, name: str) -> Path:
        """See VolumePool.path_of."""
        return Path(f"/dev/{self._vg}/{self._name(name)}")

    def free_bytes(self) -> int:
        """What new volumes may take: of the thin pool when there is one, else of the group."""
        seen = self._look()
        if pool := _thin_pool(seen):
            [one] = [one for one in seen if one.name == pool]
            return one.size_bytes - _used_bytes(one)
        said = self._run('vgs --noheadings --units b --nosuffix -o vg_free "$1"', self._vg)
        return int(said.strip())

    def _name(self, name: str) -> str:
        return checked_name(name) if self._group == self._vg else f"{self._group}.{checked_name(name)}"

    def _make(self, lv: str, size_bytes: int, seen: Sequence[_Seen], *tags: str) -> Callable[[], None]:
        """A new logical volume of that name, in place of one that was never finished; call the result once it is."""
        if any(one.name == lv and _MAKING in one.tags for one in seen):
            self._run(_REMOVE, f"{self._vg}/{lv}")
        size = str(-(-size_bytes // 512) * 512)
        self._run(_NEW, self._vg, lv, size, _thin_pool(seen), _MAKING, *tags)

        def whole() -> None:
            self._run(_WHOLE, f"{self._vg}/{lv}")

        return whole

    def _require_new(self, name: str, seen: Sequence[_Seen]) -> None:
        for one in seen:
            if one.name == self._name(name) and _MAKING not in one.tags:
                raise Refused(f"A volume '{self._group}/{name}' exists already.", hint=f"in dom0: lvs {self._vg}")

    def _required(self, name: str) -> Volume:
        volume = self.find(name)
        if volume is None:
            raise ToolOutput(f"LVM made '{self._vg}/{self._name(name)}', and does not show it.")
        return volume

    def _volume(self, seen: _Seen, golden: _Seen | None) -> Volume:
        name = seen.name if self._group == self._vg else seen.name.removeprefix(f"{self._group}.")
        told = next((tag.removeprefix(_BACKING) for tag in seen.tags if tag.startswith(_BACKING)), None)
        backing = None if told is None else Path(unquote(told.replace("#", "%")))
        used_bytes = _used_bytes(seen)
        if golden is not None and seen.pool:  # a thin snapshot is said to use what it shares, too
            used_bytes = max(0, used_bytes - _used_bytes(golden))
        return Volume(self._group, name, self.path_of(name), seen.size_bytes, used_bytes, backing)

    def _look(self) -> tuple[_Seen, ...]:
        return parse_lvs(self._run(_LIST, self._vg))

    def _run(self, source: str, *words: str) -> str:
        try:
            return self._target.run(script(source, *words), timeout_s=_LVM_S).stdout
        except CommandFailed as error:
            said = error.result.stderr + error.result.stdout  # with JSON asked for, lvs(8) complains in JSON
            if "not found" in said and self._vg in said:
                raise Refused(
                    f"'{error.result.where}' has no volume group '{self._vg}'.", hint="gridvisor host check"
                ) from error
            if "insufficient free space" in said or "has insufficient free" in said:
                raise Refused(
                    f"The volume group '{self._vg}' is full: {said.strip().splitlines()[-1].strip()}",
                    hint=f"in dom0: vgs {self._vg}",
                ) from error
            raise


def parse_lvs(said: str) -> tuple[_Seen, ...]:
    """The logical volumes of `lvs --reportformat json`. Raises ToolOutput for what is none."""
    try:
        [report] = json.loads(said)["report"]
        return tuple(
            _Seen(
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


def _golden(image: Path) -> str:
    return f"{TAG}.image.{image.parent.name}"


def _used_bytes(seen: _Seen) -> int:
    return seen.room_bytes if seen.used_percent is None else int(seen.room_bytes * seen.used_percent / 100)


def _reads_zeros(seen: Sequence[_Seen]) -> bool:
    """Whether a new volume holds zeros: in a thin pool that zeroes what it provides, the 8th of lvs(8)'s attributes."""
    thin = _thin_pool(seen)
    return any(one.name == thin and one.attributes[7:8] == "z" for one in seen)


def _thin_pool(seen: Sequence[_Seen]) -> str:
    """The name of the group's thin pool; '' when it has none. Of several the first."""
    return next((one.name for one in sorted(seen, key=lambda one: one.name) if one.attributes.startswith("t")), "")
