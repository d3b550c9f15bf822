"""A pool in a folder: sparse files, and copy-on-write files over an image in the format of UML's block device.

A volume is a folder `<state>/volumes/<group>/<name>/` with `volume.json`, which says what it is and marks it as
ours, and `data/`, all that a guest gets to see of it. A clone's `data/disk` is made by UML itself on first use.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.files import locked, remove_left
from gridvisor.core.parallel import each
from gridvisor.core.places import Places
from gridvisor.core.units import format_size
from gridvisor.run.command import Command
from gridvisor.run.local import Local
from gridvisor.storage.pool import NAME, NewVolume, Saving, Volume, checked_name, made_singly

_WORK = ".work-"
_MKE2FS_S = 300.0
_COPY_S = 1800.0
_COPIES = 4  # at once


class FilePool:
    """See storage.pool.VolumePool."""

    def __init__(self, places: Places, group: str) -> None:
        self._group = checked_name(group)
        self._folder = places.state / "volumes" / group

    def list(self) -> Sequence[Volume]:
        """See VolumePool.list."""
        if not self._folder.is_dir():
            return ()
        names = sorted(entry.name for entry in self._folder.iterdir() if NAME.fullmatch(entry.name))
        return tuple(volume for name in names if (volume := self.find(name)) is not None)

    def find(self, name: str) -> Volume | None:
        """See VolumePool.find."""
        folder = self._folder / checked_name(name)
        try:
            facts = json.loads((folder / "volume.json").read_text())
        except FileNotFoundError:
            return None
        disk = self.path_of(name)
        used_bytes = disk.stat().st_blocks * 512 if disk.exists() else 0
        backing = None if facts["backing"] is None else Path(facts["backing"])
        return Volume(self._group, name, disk, facts["size_bytes"], used_bytes, backing)

    def create(self, name: str, size_bytes: int, *, label: str | None = None) -> Volume:
        """See VolumePool.create."""
        return self._make(name, size_bytes, None, label)

    def bring(self, image: Path) -> None:
        """See VolumePool.bring: it is here."""

    def clone(self, name: str, image: Path) -> Volume:
        """See VolumePool.clone."""
        return self._make(name, image.stat().st_size, image)

    def make(self, wanted: Sequence[NewVolume]) -> Sequence[Volume]:
        """See VolumePool.make."""
        return made_singly(self, wanted)

    def remove(self, name: str) -> None:
        """See VolumePool.remove."""
        folder = self._folder / checked_name(name)
        with self._work() as work:
            if not folder.exists():
                return
            if not (folder / "volume.json").is_file():
                raise Refused(f"'{folder}' is not a volume that gridvisor made; it is left alone.")
            folder.rename(work / name)

    def saving(self, names: Collection[str]) -> Saving:
        """See VolumePool.saving: of a clone, the differences, or nothing where the file system can share blocks."""
        return Saving(sum(volume.used_bytes for volume in self.list() if volume.name in names), 0)

    def save(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.save: they are copied into the folders."""
        each(folders, lambda name: _copy(self._folder / checked_name(name), folders[name]), workers=_COPIES)

    def require_saved(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.require_saved."""
        for name, folder in folders.items():
            try:
                of = json.loads((folder / "volume.json").read_text()).get("name", name)
            except (OSError, ValueError) as error:
                text = f"What was kept for '{self._group}/{name}' is not there any more, or cannot be read: {error}."
                raise GridvisorError(text) from error
            if of != name:
                raise Refused(f"'{folder}' has the volume '{of}', which '{self._group}/{name}' must not become.")

    def load(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.load."""
        self.require_saved(folders)
        for name, folder in folders.items():
            own = self._folder / checked_name(name)
            with self._work() as work:
                _copy(folder, work / "new")
                if own.exists():
                    own.rename(work / "old")
                (work / "new").rename(own)

    def clear(self, folders: Collection[Path]) -> None:
        """See VolumePool.clear: all of it is in the folders."""

    def path_of(self, name: str) -> Path:
        """Where the bytes of a volume of that name are, or would be."""
        return self._folder / checked_name(name) / "data" / "disk"

    def _make(self, name: str, size_bytes: int, backing: Path | None, label: str | None = None) -> Volume:
        folder = self._folder / checked_name(name)
        with self._work() as work:
            if folder.exists():
                raise Refused(f"A volume '{self._group}/{name}' exists already.", hint="gridvisor volume list")
            (work / name).mkdir(mode=0o700)  # what is in a guest's memory and disks is not for everybody here
            (work / name / "data").mkdir()
            if backing is None:
                _make_sparse(work / name / "data" / "disk", size_bytes)
            if label is not None:
                words = ("mke2fs", "-q", "-t", "ext4", "-m", "0", "-L", label, str(work / name / "data" / "disk"))
                Local().run(Command(words), timeout_s=_MKE2FS_S)
            facts = {"name": name, "size_bytes": size_bytes, "backing": None if backing is None else str(backing)}
            (work / name / "volume.json").write_text(json.dumps(facts))
            (work / name).rename(folder)
        volume = self.find(name)
        assert volume is not None
        return volume

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """A hidden folder, from or to which a volume is renamed: it is there whole or not at all.

        There is one at a time, so that any other was left by a process that was killed.
        """
        root = self._folder.parent
        with locked(root.parent / "volumes.lock"):
            for left in root.glob(f"{_WORK}*"):
                remove_left(left)
            self._folder.mkdir(parents=True, exist_ok=True)
            root.chmod(0o700)
            with tempfile.TemporaryDirectory(dir=root, prefix=_WORK) as work:
                yield Path(work)


def groups(places: Places) -> list[str]:
    """The names of all groups that have a folder."""
    root = places.state / "volumes"
    return sorted(entry.name for entry in root.iterdir() if NAME.fullmatch(entry.name)) if root.is_dir() else []


def _copy(source: Path, target: Path) -> None:
    words = ("cp", "--archive", "--reflink=auto", "--sparse=always", "--no-target-directory", str(source), str(target))
    Local().run(Command(words), timeout_s=_COPY_S)


def _make_sparse(disk: Path, size_bytes: int) -> None:
    try:
        with disk.open("xb") as file:
            os.truncate(file.fileno(), size_bytes)
    except (OSError, OverflowError) as error:  # EFBIG mostly: file systems differ in how large a file may be
        raise Refused(f"A volume of {format_size(size_bytes)} cannot be made: {error}.") from error
