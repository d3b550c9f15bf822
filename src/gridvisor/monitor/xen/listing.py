"""What `xl list -v` prints, read. `xl list -l` is JSON, and says neither the state nor the processor time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gridvisor.core.errors import ToolOutput
from gridvisor.monitor.protocol import State

DOM0 = "Domain-0"
# Names may hold blanks: they end where the numbers begin (tools/xl/xl_list.c, list_domains; the same in 4.17 and 4.20).
_ROW = re.compile(
    r"(?P<name>.+?)\s+(?P<id>\d+)\s+(?P<memory>\d+)\s+(?P<vcpus>\d+)\s+(?P<flags>[a-z-]{6})\s+(?P<cpu>[\d.]+)"
    r"(?:\s+(?P<uuid>[0-9a-f-]{36})\s.*)?"
)
# The letters of the flags, the one that counts first.
_STATES = {"d": State.DYING, "c": State.CRASHED, "s": State.SHUTDOWN, "p": State.PAUSED}


@dataclass(frozen=True, slots=True)
class XlRow:
    """A line of the list. The name of a domain that is being destroyed is '(null)'."""

    name: str
    id: int
    memory_mib: int
    vcpus: int
    state: State
    cpu_s: float
    uuid: str = ""


def parse_list(text: str) -> tuple[XlRow, ...]:
    """The domains in what `xl list` or `xl list -v` printed, in its order. Raises ToolOutput for what is no list."""
    head, *lines = text.splitlines() or [""]
    if not head.startswith("Name "):
        raise ToolOutput(f"'xl list' printed no list: {text[:200]!r}")
    rows = []
    for line in lines:
        match = _ROW.fullmatch(line.rstrip())
        if match is None:
            raise ToolOutput(f"'xl list' printed a line that is not known: {line!r}")
        rows.append(
            XlRow(
                match["name"],
                int(match["id"]),
                int(match["memory"]),
                int(match["vcpus"]),
                state_of(match["flags"]),
                float(match["cpu"]),
                match["uuid"] or "",
            )
        )
    return tuple(rows)


def state_of(flags: str) -> State:
    """The state that flags such as '-b----' or '--ps--' tell (xl(1), "list"); a blocked domain runs, and waits."""
    return next((state for letter, state in _STATES.items() if letter in flags), State.RUNNING)
