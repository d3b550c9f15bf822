"""The folder that a domain of a local monitor lives in, and who may touch it.

A folder belongs to whoever holds the lock on its `lock` file: the creator at first, then the keeper that
inherits it. The kernel lets the lock go when its last holder dies, so a folder nobody holds is a dead domain.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gridvisor.core.errors import Refused
from gridvisor.core.files import is_locked, locked, write_whole
from gridvisor.core.places import Places


class DomainFolders:
    """All domain folders of one state folder; the name of a folder is the name of its domain."""

    def __init__(self, places: Places) -> None:
        self.root = places.state / "domains"
        self._table_lock = places.state / "domains.lock"

    @contextmanager
    def table(self) -> Iterator[None]:
        """Hold the list of domains still: nobody creates, renames or sweeps meanwhile."""
        with locked(self._table_lock):
            self.root.mkdir(parents=True, exist_ok=True)
            yield

    def names(self) -> list[str]:
        """The names of all folders, dead ones included."""
        found = (entry.name for entry in self.root.iterdir()) if self.root.is_dir() else ()
        return sorted(name for name in found if not name.startswith("."))

    def clear_gone(self) -> None:
        """Remove what is left of folders whose keeper was killed while it removed them. Call it inside `table()`."""
        for left in self.root.glob(".gone-*"):
            if not is_locked(left / "lock"):
                shutil.rmtree(left, ignore_errors=True)

    def alive(self, name: str) -> bool:
        """True while a creator or a keeper holds the folder."""
        return is_locked(self.root / name / "lock")

    def claim(self, name: str) -> tuple[Path, BinaryIO]:
        """A new folder for `name` and the open file that holds its lock. Call it inside `table()`.

        Raises Refused when a folder of that name is there.
        """
        folder = self.root / name
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise Refused(f"A domain '{name}' exists already.", hint="gridvisor domain list") from error
        lock = (folder / "lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)  # nobody has it for longer than a look takes
        return folder, lock

    def remove(self, name: str) -> None:
        """Remove the folder of `name`; absent is fine."""
        shutil.rmtree(self.root / name, ignore_errors=True)

    def next_id(self) -> int:
        """A number that no domain here had before. Call it inside `table()`."""
        counter = self.root.parent / "next-id"
        number = int(counter.read_text()) if counter.exists() else 1
        write_whole(counter, str(number + 1))
        return number
