"""Who needs a network: those that are about to use it keep away whoever would remove it for being idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.files import locked, try_locked


@dataclass(frozen=True, slots=True)
class Tenants:
    """The locks of a network whose files are in `folder`, which need not be there."""

    folder: Path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the network alone. Not to be held twice."""
        with locked(self.folder.with_name(f"{self.folder.name}.lock")):
            yield

    @contextmanager
    def coming(self) -> Iterator[None]:
        """For whoever brings up the network and has no guest on it yet."""
        with locked(self._users, shared=True):
            yield

    @contextmanager
    def none_coming(self) -> Iterator[bool]:
        """Hold the network alone; true if nobody is about to use it, and then nobody is for so long.

        Two that end the last two domains wait for one another here: else each could leave it to the other.
        """
        with self.alone(), try_locked(self._users) as nobody:
            yield nobody

    @property
    def _users(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.users.lock")
