"""Where snapshots of a site lie: a folder each, whole or not at all.

`<state>/snapshots/<site>/<name>/` has `snapshot.json`, which says what it is and marks it as ours, `volumes/NAME/` as
the pool has them, and `files/`, those of the site's own folder that say what the site is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.core.files import remove_left, write_whole
from gridvisor.core.places import Places
from gridvisor.storage.pool import checked_name

_RECORD = "snapshot.json"
_WORK = ".work-"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A site at one moment: `at_s` in seconds since the epoch. `volumes` gives for each the image that it is over, or
    ''; `machine_ids` those of its machines, by name; `with_memory` are the machines that ran, and go on from there.

    `used_bytes` is what all of it takes: when it is taken, what that is beside its folder; in a list, with the folder.
    """

    name: str
    site: str
    at_s: float
    volumes: Mapping[str, str]
    machine_ids: Mapping[str, str]
    used_bytes: int = 0
    with_memory: Sequence[str] = ()


class SnapshotStore:
    """The snapshots of one site."""

    def __init__(self, places: Places, site: str) -> None:
        self._root = places.state / "snapshots" / site
        self._site = site

    def list(self) -> tuple[Snapshot, ...]:
        """All that are whole, oldest first."""
        folders = sorted(self._root.glob("[!.]*")) if self._root.is_dir() else []
        return tuple(sorted((one for one in map(_record_of, folders) if one), key=lambda one: one.at_s))

    def find(self, name: str) -> Snapshot:
        """The snapshot of that name. Raises Refused when there is none."""
        for snapshot in self.list():
            if snapshot.name == name:
                return snapshot
        known = ", ".join(one.name for one in self.list()) or "none yet"
        raise Refused(f"The site '{self._site}' has no snapshot '{name}'. It has: {known}.")

    def require_new(self, name: str) -> None:
        """Raise Refused for a name that is taken, or cannot be one."""
        if (self._root / checked_name(name)).exists():
            raise Refused(
                f"The site '{self._site}' has a snapshot '{name}' already.",
                hint=f"gridvisor snapshot rm {self._site} {name}",
            )

    def volume_folder(self, snapshot: Snapshot, volume: str) -> Path:
        """Where that volume is kept."""
        return self._root / snapshot.name / "volumes" / volume

    def volume_folders(self) -> tuple[Path, ...]:
        """Where the volumes of all snapshots are kept."""
        return tuple(self.volume_folder(one, volume) for one in self.list() for volume in one.volumes)

    def files_folder(self, name: str) -> Path:
        """Where files of the site's folder are kept by the snapshot of that name."""
        return self._root / checked_name(name) / "files"

    @contextmanager
    def new(self, snapshot: Snapshot) -> Iterator[Path]:
        """A folder to fill, with `volumes` and `files`: on success it is the snapshot, else it is gone.

        Call it with the site held: what others left there was left by one that was killed.
        """
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clear()
        work = self._root / f"{_WORK}{snapshot.name}"
        try:
            for part in ("volumes", "files"):
                (work / part).mkdir(parents=True)
            yield work
            write_whole(work / _RECORD, json.dumps(asdict(snapshot), indent=1))
            work.rename(self._root / snapshot.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Remove the snapshot. Raises Refused when there is none of that name."""
        self.find(name)
        # Renamed first: a removal that is killed half-way leaves nothing that looks like a snapshot.
        dead = self._root / f"{_WORK}{name}"
        shutil.rmtree(dead, ignore_errors=True)
        (self._root / name).rename(dead)
        self._clear()

    def remove_all(self) -> None:
        """Remove every snapshot of the site, and what is left of those that were not finished."""
        for snapshot in self.list():
            self.remove(snapshot.name)
        self._clear()
        with suppress(OSError):
            self._root.rmdir()

    def _clear(self) -> None:
        for left in self._root.glob(f"{_WORK}*"):
            remove_left(left)


def images_of_snapshots(places: Places) -> frozenset[Path]:
    """The images that volumes in snapshots are over."""
    folders = (places.state / "snapshots").glob("*/[!.]*")
    return frozenset(Path(image) for one in map(_record_of, folders) if one for image in one.volumes.values() if image)


def _record_of(folder: Path) -> Snapshot | None:
    try:
        facts = json.loads((folder / _RECORD).read_text())
        used_bytes = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
        return Snapshot(**{**facts, "used_bytes": facts["used_bytes"] + used_bytes})
    except (OSError, ValueError, KeyError, TypeError):
        return None
