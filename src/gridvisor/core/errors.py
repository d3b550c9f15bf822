"""One tree of errors that may be shown to the user as they are; anything else is our bug and gets a traceback.

GridvisorError            exit code 3 unless it says otherwise
├── InputError            2  a file or an argument is wrong; carries every Problem found
├── Refused               2  understood, and not done: it would harm, or does not fit
│   └── Unsupported       2  this monitor or this machine cannot do it
├── SystemSaidNo          1  the system under test failed, our tool did not
├── ToolOutput            3  a tool printed what we cannot read
├── TimedOut              3  a wait ran out of its deadline
└── (run) CommandFailed   3  a command ran and failed;  (run) Unreachable: nothing is known of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a gridvisor command tells its shell."""

    OK = 0
    SAID_NO = 1
    USAGE = 2
    INFRASTRUCTURE = 3
    INTERRUPTED = 130


class GridvisorError(Exception):
    """A whole sentence for the user (`message`), and where there is one, what to do about it (`hint`)."""

    exit_code = ExitCode.INFRASTRUCTURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a text: `path` as the user gave it, line and column counted from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with an input, where it is, and what to do; `source` is the line it stands in."""

    span: Span
    text: str
    hint: str | None = None
    source: str | None = None

    def render(self) -> str:
        """The problem as a compiler prints it: place and text, the line, a caret, a hint."""
        lines = [f"{self.span}: {self.text}"]
        if self.source is not None:
            before = self.source[: self.span.column - 1]
            lines.append(f"    {self.source}")
            lines.append("    " + "".join("\t" if c == "\t" else " " for c in before) + "^")
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)


class InputError(GridvisorError):
    """A file or an argument is wrong. `problems` holds all that was found, in the order of the text."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.span))
        super().__init__("\n".join(problem.render() for problem in self.problems))


class Refused(GridvisorError):
    """The request was understood and is not carried out."""

    exit_code = ExitCode.USAGE


class Unsupported(Refused):
    """This monitor or this machine cannot do what was asked."""


class SystemSaidNo(GridvisorError):
    """The guest, service or site under test failed; gridvisor itself did its work."""

    exit_code = ExitCode.SAID_NO


class ToolOutput(GridvisorError):
    """A tool printed something that its parser does not know."""


class TimedOut(GridvisorError):
    """A wait ended at its deadline; the message holds the last thing that was seen."""
