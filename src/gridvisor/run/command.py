"""Commands as values, and the three outcomes of running one: a Result, CommandFailed, Unreachable."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from gridvisor.core.errors import GridvisorError

LAST_LINES = 12


class Secret(str):
    """A word of a command that is executed and never printed. Prefer `stdin`: argv is seen by `ps`."""


@dataclass(frozen=True, slots=True)
class Command:
    """An argv with its own environment on top of a clean one; `stdin` is closed unless bytes are given."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None

    @classmethod
    def of(cls, *argv: str, stdin: bytes | None = None, **env: str) -> Command:
        """The command of these words."""
        return cls(argv, env, stdin)

    @property
    def shown(self) -> str:
        """The command line to paste, secrets masked."""
        words = [f"{key}={_shown(value)}" for key, value in self.env.items()]
        return " ".join([*words, *(_shown(word) for word in self.argv)])


def _shown(word: str) -> str:
    return "***" if isinstance(word, Secret) else shlex.quote(word)


SHELL = ("/bin/sh", "-euc")


def script(body: str, *arguments: str, stdin: bytes | None = None) -> Command:
    """The command that runs `body` with `/bin/sh -eu`; `arguments` become $1, $2 …"""
    return Command((*SHELL, body, "sh", *arguments), stdin=stdin)


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished command left: exit status (128+N for signal N), output as text, seconds, and where it ran."""

    command: Command
    status: int
    stdout: str
    stderr: str
    seconds: float
    where: str


class CommandFailed(GridvisorError):
    """The command ran and its exit status was not 0."""

    def __init__(self, result: Result, *, hint: str | None = None) -> None:
        self.result = result
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-LAST_LINES:]
        super().__init__(
            "\n".join(
                [
                    f"A command on '{result.where}' failed with status {result.status}:",
                    f"    {result.command.shown}",
                    *(f"    | {line}" for line in said),
                ]
            ),
            hint=hint,
        )


class Unreachable(GridvisorError):
    """The place could not be reached, or was lost: nothing is known about the command."""
