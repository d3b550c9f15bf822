"""A pool in a volume group of LVM, on the machine whose dom0 `target` is: what the paper makes with lvcreate.

A volume `name` of the volume group itself is the logical volume `name`; one of a group inside of it, such as
'site.kiam-test', is `site.kiam-test.name`. Each is on one spot whole (storage.placement): in a thin pool when there is
one (lvmthin(7)), else on a physical volume. A clone is a snapshot of the golden volume of its spot, which holds the
image, is read-only, and is named by the image's id; outside of a thin pool it has room for all of it. What is ours has
the tag `gridvisor`; nothing else is ever removed.

A volume is saved as a thin snapshot of it, which takes nothing until somebody writes, and is not active; outside of a
thin pool, as a copy on the same disk. It is called `gridvisor.snapshot.TOKEN.name`, says by its tags whose it is, and
is no volume of the group: `list` does not show it. The folder on this machine has its name.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

from gridvisor.core.errors import GridvisorError, Refused, TimedOut, ToolOutput
from gridvisor.core.files import locked, write_whole
from gridvisor.core.units import counted, format_size
from gridvisor.run.command import CommandFailed, Unreachable, script
from gridvisor.run.target import Target
from gridvisor.storage.filling import Fill
from gridvisor.storage.placement import Spot, spot_for
from gridvisor.storage.pool import NewVolume, Saving, Volume, checked_name
from gridvisor.storage.volume_group import (
    BACKING,
    GROUP,
    LIST,
    MAKING,
    SEGMENTS,
    SIZES,
    TAG,
    LogicalVolume,
    VolumeGroup,
    golden_name,
    parse_lvs,
    parse_segments,
    parse_sizes,
    thin_pools,
)

_SAVED, _OF = "gridvisor.snapshot-of=", "gridvisor.volume="  # the group, and the volume there, that was saved
_RECORD = "volume.json"  # in the folder of a saved volume
_THIN_ROOM_BYTES = 64 << 20  # without which guests that write would soon wait for somebody to enlarge the thin pool
_LVM_S, _COPY_S = 120.0, 600.0
# Several commands in one process of LVM, until one fails: its start is half of what an lvcreate takes an emulated dom0.
# That they are a script is what the first line tells it; a line has 255 characters at most, else they are run singly
# (lvm2 2.03.31, tools/lvmcmdline.c: _run_script).
_TOGETHER = """\
lvm /dev/stdin <<END
#!lvm
$1
END
"""
_SINGLY = """\
set -f
while IFS= read -r line; do
    $line </dev/null
done <<END
$1
END
"""
_LONGEST_LINE = 255
_WHOLE = f'lvchange -q ${{2:+--permission "$2"}} --deltag {MAKING} --addtag {TAG} "$1" >&2'
_REMOVE = 'lvremove -q --yes "$@" >&2'
_COPY = 'dd if="$1" of="$2" bs=1M iflag=fullblock status=none conv="${3:+sparse,}fsync"'
# Past the page cache of dom0, which does not see what guests write.
_COPY_NOW = 'dd if="$1" of="$2" bs=1M iflag=fullblock,direct oflag=direct status=none conv=fsync'
_LABEL = 'mke2fs -q -t ext4 -m 0 -E "$3" -L "$2" "$1"'
# By lvcreate(8) of a group and of a thin pool, and by dd(1) and mke2fs(8) to a thin pool that fills up under them.
_NO_ROOM = re.compile(
    "nsufficient free space|nsufficient suitable allocatable|out of data space|reached threshold|No space left"
)
# Why what was seen last no longer holds: by lvcreate of a name that was taken, and of a snapshot of what is gone.
_CHANGED = re.compile("already exists in volume group|not found in Volume group")
# What reads as zeros need not have them written: 2 GiB of a thin pool took an emulated dom0 a minute of its busiest.
_ZEROS, _ANYTHING = "assume_storage_prezeroed=1", "lazy_itable_init=1"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A logical volume that is to be made: a snapshot of `golden` with room for so many bytes of changes, or empty."""

    lv: str
    golden: str
    room_bytes: int
    tags: tuple[str, ...]


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
        self._listed: VolumeGroup | None = None  # as `list` saw it, until something is changed
        self._looking = Lock()

    def list(self) -> Sequence[Volume]:
        """See VolumePool.list."""
        with self._looking:
            self._listed = self._look()
            return self._mine(self._listed.volumes)

    def _mine(self, seen: Sequence[LogicalVolume]) -> tuple[Volume, ...]:
        mine = {TAG, f"{GROUP}{self._group}"}
        by_name = {one.name: one for one in seen}
        found = (self._volume(one, by_name) for one in seen if mine <= set(one.tags))
        return tuple(sorted(found, key=lambda volume: volume.name))

    def find(self, name: str) -> Volume | None:
        """See VolumePool.find."""
        checked_name(name)
        return next((volume for volume in self.list() if volume.name == name), None)

    def create(self, name: str, size_bytes: int, *, label: str | None = None) -> Volume:
        """See VolumePool.create."""
        return self.make([NewVolume(name, size_bytes=size_bytes, label=label)])[0]

    def clone(self, name: str, image: Path) -> Volume:
        """See VolumePool.clone."""
        return self.make([NewVolume(name, image)])[0]

    def make(self, wanted: Sequence[NewVolume]) -> Sequence[Volume]:
        """See VolumePool.make: on one spot, with one look at the group."""
        for one in wanted:
            checked_name(one.name)
        made = self._made_without_a_look(wanted)
        while made is None and (made := self._made(wanted)) is None:
            for image in {one.image for one in wanted if one.image}:
                self.bring(image)
        return tuple(
            volume if one.label is None else self._labelled(one.name, one.label)
            for one, volume in zip(wanted, made, strict=True)
        )

    def _made_without_a_look(self, wanted: Sequence[NewVolume]) -> Sequence[Volume] | None:
        """The volumes, by what was seen last, if that is enough: of a single spot, which is not to be chosen."""
        group = self._listed
        lvs = {self._name(one.name) for one in wanted}
        if group is None or len(group.spots) != 1 or any(one.name in lvs for one in group.volumes):
            return None
        try:
            return self._made_in(group, wanted)
        except CommandFailed as error:
            if _CHANGED.search(error.result.stderr):
                return None
            raise

    def _made(self, wanted: Sequence[NewVolume]) -> Sequence[Volume] | None:
        """The volumes, by a new look at the group.

        None other is placed meanwhile: machines that are made side by side would all go where it was the emptiest.
        """
        with locked(self._locks / f"{self._vg}.placing.lock"):
            return self._made_in(self._look(), wanted)

    def _made_in(self, group: VolumeGroup, wanted: Sequence[NewVolume]) -> Sequence[Volume] | None:
        """The volumes, if the spot where they belong has their images. What is to hold a file system is not whole
        yet."""
        for one in wanted:
            self._require_new(one.name, group.volumes)
        spot = spot_for(self._name(wanted[0].name), sum(_room(one) for one in wanted), group.spots)
        pieces = []
        for one in wanted:
            golden = "" if one.image is None else group.golden(one.image, spot)
            if golden is None:
                return None
            pieces.append(_Piece(self._name(one.name), golden, _room(one), self._tags(one)))
        sizes = self._lvcreate(pieces, group, spot)
        return [
            Volume(
                self._group, one.name, self.path_of(one.name), size, 0 if group.pooled or one.image else size, one.image
            )
            for one, size in zip(wanted, sizes, strict=True)
        ]

    def _labelled(self, name: str, label: str) -> Volume:
        lv = self._name(name)
        with self._finishing(lv):
            zeros = _ZEROS if self._look().reads_zeros(lv) else _ANYTHING
            self._run(_LABEL, str(self.path_of(name)), label, zeros)
        volume = self.find(name)
        if volume is None:
            raise ToolOutput(f"LVM made '{self._vg}/{self._name(name)}', and does not show it.")
        return volume

    def _tags(self, one: NewVolume) -> tuple[str, ...]:
        mine = f"{GROUP}{self._group}"
        if one.image is not None:
            return (TAG, mine, f"{BACKING}{quote(str(one.image), safe='/').replace('%', '#')}")
        return (TAG if one.label is None else MAKING, mine)

    def bring(self, image: Path) -> None:
        """See VolumePool.bring: to every spot, the first time from here, and from one spot to the others."""
        with locked(
            self._locks / f"{self._vg}.{golden_name(image)}.lock"
        ):  # machines of one image are made side by side
            group = self._look()
            there = next((golden for spot in group.spots if (golden := group.golden(image, spot))), None)
            for spot in group.spots:
                if group.golden(image, spot) is None:
                    name = f"{golden_name(image)}.{spot.name.rpartition('/')[2]}" if there else golden_name(image)
                    self._lvcreate([_Piece(name, "", image.stat().st_size, (MAKING,))], group, spot)
                    device = f"/dev/{self._vg}/{name}"
                    with self._finishing(name, permission="r"):
                        if there:
                            sparse = "yes" if group.pooled else ""
                            self._run(_COPY, f"/dev/{self._vg}/{there}", device, sparse, timeout_s=_COPY_S)
                        else:
                            self._filled(image, device, is_empty=group.pooled)
                    there = there or name

    def remove(self, name: str) -> None:
        """See VolumePool.remove."""
        lv = self._name(name)
        seen = next((one for one in self._lvs() if one.name == lv), None)
        if seen is None:
            return
        self._require_ours(seen)
        self._run(_REMOVE, f"{self._vg}/{seen.name}")

    def path_of(self, name: str) -> Path:
        """See VolumePool.path_of."""
        return Path(f"/dev/{self._vg}/{self._name(name)}")

    def saving(self, names: Collection[str]) -> Saving:
        """See VolumePool.saving: a thin pool needs room for what is written later, and nothing is copied in it."""
        look = self._look()
        lvs = {self._name(name) for name in names}
        wanted = [one for one in look.volumes if one.name in lvs]
        pools = {spot.name: spot.free_bytes for spot in look.all_spots}
        for pool in sorted({one.pool for one in wanted if one.pool}):
            if pools[pool] < _THIN_ROOM_BYTES:
                raise Refused(
                    f"The thin pool '{self._vg}/{pool}' of '{self._target.name}' has {format_size(pools[pool])} free,"
                    f" and a snapshot is taken only while there are {format_size(_THIN_ROOM_BYTES)}: what guests write"
                    " after it takes room anew.",
                    hint=f"in dom0: lvextend -L +1G {self._vg}/{pool}; gridvisor snapshot rm an older one",
                )
        copies = [one for one in wanted if not one.pool]
        copied_bytes = self._require_room_for(copies, look)
        thin = {one.name for one in wanted} - {one.name for one in copies}
        thin_bytes = sum(one.used_bytes for one in self._mine(look.volumes) if self._name(one.name) in thin)
        return Saving(copied_bytes, copied_bytes + thin_bytes)

    def _require_room_for(self, copies: Sequence[LogicalVolume], look: VolumeGroup) -> int:
        """How many bytes copies of these volumes take, each on its own disk. Raises Refused where that has not as
        many."""
        on = Counter[Spot]()
        for one, disk in zip(copies, self._disks_of(copies, look), strict=True):
            if disk:
                on[disk] += one.size_bytes
        for disk, there_bytes in on.items():
            if there_bytes > disk.free_bytes:
                raise Refused(
                    f"Not enough room on '{disk.name}' of the volume group '{self._vg}' of '{self._target.name}':"
                    f" copies of {counted(len(copies), 'volume')} take"
                    f" {format_size(sum(one.size_bytes for one in copies))}, of which {format_size(there_bytes)}"
                    f" there, and {format_size(disk.free_bytes)} are free.",
                    hint="in a thin pool nothing is copied: gridvisor host check; gridvisor snapshot rm an older one",
                )
        return sum(one.size_bytes for one in copies)

    def save(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.save. What is where is written down first: `clear` then knows what it may leave."""
        look, token = self._look(), secrets.token_hex(4)
        by_name = {one.name: one for one in look.volumes}
        names = {by_name[self._name(name)]: name for name in folders}
        saved = {one: f"{TAG}.snapshot.{token}.{name}" for one, name in names.items()}
        for one, name in names.items():
            folders[name].mkdir()
            write_whole(folders[name] / _RECORD, json.dumps({"name": name, "volume": saved[one]}))
        thin = [one for one in names if one.pool]
        # They are not activated, as lvmthin(7) has it; those of guests are.
        self._lvm(
            [
                f"lvcreate -qyn {saved[one]} {_tagged(TAG, *self._tags_saved(one, names[one]))} -s -pr -ky"
                f" {self._vg}/{one.name}"
                for one in thin
            ]
        )
        copies = [one for one in names if not one.pool]
        for one, disk in zip(copies, self._disks_of(copies, look), strict=True):
            self._copy(one, saved[one], disk, self._tags_saved(one, names[one]))

    def require_saved(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.require_saved."""
        self._all_saved(folders, self._look())

    def load(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.load. A copy is on the disk where the saved one is."""
        look = self._look()
        by_name = {one.name: one for one in look.volumes}
        saved = self._all_saved(folders, look)
        there = {name for name in folders if self._name(name) in by_name}
        for name in there:
            self._require_ours(by_name[self._name(name)])
        mine = f"{GROUP}{self._group}"
        thin = {name: one for name, one in saved.items() if one.pool}
        commands = []
        for name, one in thin.items():
            lv, tags = self._name(name), _tagged(TAG, mine, *_backing_tags(one))
            if name in there:
                commands.append(f"lvremove -qy {self._vg}/{lv}")
            commands.append(f"lvcreate -qyn {lv} {tags} -s -prw -kn {self._vg}/{one.name}")
        self._lvm(commands)
        copies = {name: one for name, one in saved.items() if not one.pool}
        for (name, one), disk in zip(copies.items(), self._disks_of(tuple(copies.values()), look), strict=True):
            self.remove(name)
            self._copy(one, self._name(name), disk, (mine, *_backing_tags(one)))

    def clear(self, folders: Collection[Path]) -> None:
        """See VolumePool.clear. Raises ToolOutput for a folder that does not say what is kept for it."""
        kept = {_record_in(folder)["volume"] for folder in folders}
        left = [
            f"{self._vg}/{one.name}"
            for one in self._lvs()
            if f"{_SAVED}{self._group}" in one.tags and {TAG, MAKING} & set(one.tags) and one.name not in kept
        ]
        if left:
            self._run(_REMOVE, *left, timeout_s=_LVM_S + 10 * len(left))

    def free_bytes(self) -> int:
        """What new volumes may take: of the thin pools when there are any, else of the group; as `list` has just seen
        it, or by a look of its own."""
        with self._looking:
            return sum(spot.free_bytes for spot in (self._listed or self._look()).spots)

    def _name(self, name: str) -> str:
        return checked_name(name) if self._group == self._vg else f"{self._group}.{checked_name(name)}"

    def _lvcreate(self, pieces: Sequence[_Piece], group: VolumeGroup, spot: Spot) -> Sequence[int]:
        """New logical volumes, in place of some that were never finished (see `_finishing`); how large each is."""
        for lv in {one.lv for one in pieces} & {one.name for one in group.volumes if MAKING in one.tags}:
            self._run(_REMOVE, f"{self._vg}/{lv}")
        commands = [self._command(one, *group.where(spot)) for one in pieces]
        shown = " ".join(f"{self._vg}/{one.lv}" for one in pieces)
        return parse_sizes(self._lvm([*commands, f"{SIZES} {shown}"]), [one.lv for one in pieces])

    def _command(self, one: _Piece, pool: str, disk: str) -> str:
        """What makes it, in that thin pool, or else on that physical volume, or on any."""
        command = f"lvcreate -qyn {one.lv} {_tagged(*one.tags)}"
        room = f"{-(-one.room_bytes // 512) * 512}b"
        if one.golden:
            return f"{command} -s -prw {'-kn' if pool else f'-L{room}'} {self._vg}/{one.golden} {disk}"
        return f"{command} -Wn {f'-V{room} --thinpool {pool}' if pool else f'-L{room}'} {self._vg} {disk}"

    def _lvm(self, commands: Sequence[str]) -> str:
        """What these commands of LVM print, run one after another until one fails; nothing is run for none."""
        if not commands:
            return ""
        how = _TOGETHER if max(len(command) for command in commands) <= _LONGEST_LINE else _SINGLY
        return self._run(how, "\n".join(commands), timeout_s=_LVM_S + 20 * len(commands))

    def _tags_saved(self, one: LogicalVolume, name: str) -> tuple[str, ...]:
        """What a saved volume says: whose it is, and of which volume."""
        return (f"{_SAVED}{self._group}", f"{_OF}{name}", *_backing_tags(one))

    @contextmanager
    def _finishing(self, lv: str, *, permission: str = "") -> Iterator[None]:
        """After the body, the volume is whole. It goes when the body fails; when dom0 is lost, at the next try."""
        try:
            yield
            self._run(_WHOLE, f"{self._vg}/{lv}", permission)
        except (Unreachable, TimedOut):
            raise
        except GridvisorError:
            with suppress(GridvisorError):  # what failed first is what is to be told
                self._run(_REMOVE, f"{self._vg}/{lv}")
            raise

    def _filled(self, image: Path, device: str, *, is_empty: bool) -> None:
        try:
            self._fill(image, device, is_empty=is_empty)
        except CommandFailed as error:
            if full := self._full(error):
                raise full from error
            raise

    def _require_new(self, name: str, seen: Sequence[LogicalVolume]) -> None:
        for one in seen:
            if one.name == self._name(name) and MAKING not in one.tags:
                if TAG in one.tags:
                    raise Refused(f"A volume '{self._group}/{name}' exists already.", hint=f"in dom0: lvs {self._vg}")
                raise Refused(
                    f"A volume '{self._group}/{name}' exists already, and gridvisor did not make it; it is left alone.",
                    hint=f"take another name, or rename it in dom0: lvrename {self._vg} {one.name} NAME",
                )

    def _require_ours(self, seen: LogicalVolume) -> None:
        if not {TAG, MAKING} & set(seen.tags):
            raise Refused(f"'{self._vg}/{seen.name}' is not a volume that gridvisor made; it is left alone.")

    def _all_saved(self, folders: Mapping[str, Path], look: VolumeGroup) -> dict[str, LogicalVolume]:
        by_name = {one.name: one for one in look.volumes}
        return {name: self._saved(name, folder, by_name) for name, folder in folders.items()}

    def _saved(self, name: str, folder: Path, by_name: Mapping[str, LogicalVolume]) -> LogicalVolume:
        """The saved volume of that folder, if it is one of the volume `name`."""
        record = _record_in(folder)
        one = by_name.get(record["volume"])
        if one is None or TAG not in one.tags:
            raise GridvisorError(
                f"'{self._vg}/{record['volume']}' of '{self._target.name}', which was kept for '{self._group}/{name}',"
                " is not there any more.",
                hint=f"in dom0: lvs -o+lv_tags {self._vg}",
            )
        told = {one.told(_OF), record["name"]}
        if told != {name} or one.told(_SAVED) != self._group:
            of = next(iter(told - {name}), name)
            raise Refused(f"'{one.name}' was kept of the volume '{of}', which '{self._group}/{name}' must not become.")
        return one

    def _disks_of(self, seen: Sequence[LogicalVolume], look: VolumeGroup) -> Sequence[Spot | None]:
        """The physical volume of each of these; None for what lies on none of them by its own name, such as RAID."""
        if not seen:
            return []
        disks = parse_segments(self._run(SEGMENTS, self._vg)) if look.pooled else look.all_spots
        return [next((disk for disk in disks if one.name in disk.volumes), None) for one in seen]

    def _copy(self, one: LogicalVolume, lv: str, disk: Spot | None, tags: Sequence[str]) -> None:
        """A new volume of that name and those tags, outside of thin pools, with what `one` has."""
        self._lvm([self._command(_Piece(lv, "", one.size_bytes, (MAKING, *tags)), "", disk.name if disk else "")])
        with self._finishing(lv):
            self._run(_COPY_NOW, f"/dev/{self._vg}/{one.name}", f"/dev/{self._vg}/{lv}", timeout_s=_COPY_S)

    def _volume(self, seen: LogicalVolume, by_name: Mapping[str, LogicalVolume]) -> Volume:
        name = seen.name if self._group == self._vg else seen.name.removeprefix(f"{self._group}.")
        told = seen.told(BACKING)
        backing = None if told is None else Path(unquote(told.replace("#", "%")))
        used_bytes = seen.used_bytes
        if backing is not None and seen.pool:  # a thin snapshot is said to use what it shares, too
            names = (golden_name(backing), f"{golden_name(backing)}.{seen.pool}")
            golden = next((by_name[one] for one in names if one in by_name and by_name[one].pool == seen.pool), None)
            used_bytes = max(0, used_bytes - golden.used_bytes) if golden else used_bytes
        return Volume(self._group, name, self.path_of(name), seen.size_bytes, used_bytes, backing)

    def _lvs(self) -> tuple[LogicalVolume, ...]:
        return parse_lvs(self._run(LIST, self._vg))

    def _look(self) -> VolumeGroup:
        seen = self._lvs()
        pools = thin_pools(seen)
        return VolumeGroup(seen, pools or parse_segments(self._run(SEGMENTS, self._vg)), pooled=bool(pools))

    def _run(self, source: str, *words: str, timeout_s: float = _LVM_S) -> str:
        if source not in (LIST, SEGMENTS):
            self._listed = None  # it changes something
        try:
            return self._target.run(script(source, *words), timeout_s=timeout_s).stdout
        except CommandFailed as error:
            said = error.result.stderr + error.result.stdout  # with JSON asked for, lvs(8) complains in JSON
            if re.search(rf'olume group \\*"{re.escape(self._vg)}\\*" not found', said):
                raise Refused(
                    f"'{error.result.where}' has no volume group '{self._vg}'.", hint="gridvisor host check"
                ) from error
            if full := self._full(error):
                raise full from error
            raise

    def _full(self, error: CommandFailed) -> Refused | None:
        """What to raise if it failed because there is no room."""
        said = error.result.stderr + error.result.stdout
        line = next((line.strip() for line in said.splitlines() if _NO_ROOM.search(line)), None)
        if line is None:
            return None
        return Refused(
            f"The volume group '{self._vg}' of '{self._target.name}' is full: {line}",
            hint=f"gridvisor volume list; in dom0: lvs {self._vg}; vgextend {self._vg} /dev/DISK",
        )


def _backing_tags(seen: LogicalVolume) -> tuple[str, ...]:
    """The tag that says of which image it is; none of one that is of none."""
    told = seen.told(BACKING)
    return () if told is None else (f"{BACKING}{told}",)


def _tagged(*tags: str) -> str:
    return " ".join(f"--addtag {tag}" for tag in tags)


def _room(one: NewVolume) -> int:
    """What it may take of the group. Of a snapshot outside of a thin pool, what is written is all that it takes: no
    more than the image, and what LVM notes of each piece."""
    if one.image is None:
        return one.size_bytes
    size_bytes = one.image.stat().st_size
    return size_bytes + size_bytes // 64 + (8 << 20)


def _record_in(folder: Path) -> dict[str, str]:
    """What a folder says of the volume that is kept for it: 'name' and 'volume'."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        return {"name": record["name"], "volume": record["volume"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolOutput(f"'{folder}' does not say which volume is kept for it: {error}") from error
