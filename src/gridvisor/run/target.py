"""The protocol of a place where commands run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gridvisor.run.command import Command, CommandFailed, Result


class Target(Protocol):
    """A place where commands run. Implementations: Local, Ssh, and Wrapped around another Target."""

    @property
    def name(self) -> str:
        """How errors and logs call the place."""

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """The Result of `command`.

        Raises CommandFailed for a status other than 0 when `check` holds, Unreachable when the place
        cannot be reached, TimedOut at the end of `timeout_s` (the command is killed).
        """

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        """Copy the local file `source` to `destination` there, whole or not at all. Raises GridvisorError."""

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        """Copy the file `source` from there to the local `destination`, whole or not at all. Raises GridvisorError."""


def checked(result: Result, *, check: bool) -> Result:
    """`result` itself; raises CommandFailed if it failed and `check` holds."""
    if check and result.status:
        raise CommandFailed(result)
    return result
