"""A pool in a folder: sparse files, and copy-on-write files over an image in the format of UML's block device.

A volume is a folder `<state>/volumes/<group>/<name>/` with `volume.json`, which says what it is and marks it as
ours, and `data/`, all that a guest gets to see of it. A clone's `data/disk` is made by UML itself on first use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.core.places import Places
from gridvisor.storage.pool import Volume

NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,126}")  # lvm(8), "Valid names"


class FilePool:
    """See storage.pool.VolumePool."""

    def __init__(self, places: Places, group: str) -> None:
        self._group = _checked(group)
        self._folder = places.state / "volumes" / group

    def list(self) -> Sequence[Volume]:
        """See VolumePool.list."""
        if not self._folder.is_dir():
            return ()
        names = sorted(entry.name for entry in self._folder.iterdir())
        return tuple(volume for name in names if (volume := self.find(name)) is not None)

    def find(self, name: str) -> Volume | None:
        """See VolumePool.find."""
        folder = self._folder / _checked(name)
        try:
            facts = json.loads((folder / "volume.json").read_text())
        except FileNotFoundError:
            return None
        disk = folder / "data" / "disk"
        used_bytes = disk.stat().st_blocks * 512 if disk.exists() else 0
        backing = None if facts["backing"] is None else Path(facts["backing"])
        return Volume(self._group, name, disk, facts["size_bytes"], used_bytes, backing)

    def create(self, name: str, size_bytes: int) -> Volume:
        """See VolumePool.create."""
        return self._make(name, size_bytes, None)

    def clone(self, name: str, image: Path) -> Volume:
        """See VolumePool.clone."""
        return self._make(name, image.stat().st_size, image)

    def remove(self, name: str) -> None:
        """See VolumePool.remove."""
        folder = self._folder / _checked(name)
        if not folder.exists():
            return
        if not (folder / "volume.json").is_file():
            raise Refused(f"'{folder}' is not a volume that gridvisor made; it is left alone.")
        shutil.rmtree(folder)

    def _make(self, name: str, size_bytes: int, backing: Path | None) -> Volume:
        """Make the volume under a hidden name and give it its own by renaming: it is there whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.find(name) is not None:
            raise Refused(f"A volume '{self._group}/{name}' exists already.", hint="gridvisor volume list")
        with tempfile.TemporaryDirectory(dir=self._folder.parent, prefix=".new-", ignore_cleanup_errors=True) as work:
            made = Path(work) / name
            (made / "data").mkdir(parents=True)
            if backing is None:
                with (made / "data" / "disk").open("xb") as file:
                    os.truncate(file.fileno(), size_bytes)
            facts = {"size_bytes": size_bytes, "backing": None if backing is None else str(backing)}
            (made / "volume.json").write_text(json.dumps(facts))
            made.rename(self._folder / name)
        volume = self.find(name)
        assert volume is not None
        return volume


def groups(places: Places) -> list[str]:
    """The names of all groups that have a folder."""
    root = places.state / "volumes"
    return sorted(entry.name for entry in root.iterdir() if NAME.fullmatch(entry.name)) if root.is_dir() else []


def sweep(places: Places, *, older_than_s: float, now_s: float) -> None:
    """Remove what killed creators left half made."""
    for left in (places.state / "volumes").glob(".new-*"):
        if now_s - left.stat().st_mtime > older_than_s:
            shutil.rmtree(left, ignore_errors=True)


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Refused(f"'{name}' is not a name for a volume or a group: letters, digits and '+ _ . -' are.")
    return name
