"""Tables that line up, in plain text: `xl`'s own for domains, and one for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gridvisor.monitor.protocol import DomainRow, State

_FLAGS = {
    State.RUNNING: "r-----",
    State.PAUSED: "--p---",
    State.SHUTDOWN: "---s--",
    State.CRASHED: "----c-",
    State.DYING: "-----d",
}


def xl_list(rows: Iterable[DomainRow]) -> str:
    """The rows as `xl list` prints them, byte for byte (xl(1), "list"; libxl's printf formats)."""
    lines = ["Name                                        ID   Mem VCPUs\tState\tTime(s)"]
    lines += [
        f"{row.name:<40} {row.id:5} {row.memory_mib:5} {row.vcpus:5}     {_FLAGS[row.state]}  {row.cpu_s:8.1f}"
        for row in rows
    ]
    return "\n".join(lines)


def columns(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> str:
    """A table with a head; the columns whose heads `right` names (separated by blanks) are set to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    to_right = [name in right.split() for name in head]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, to_right, strict=True)
        ).rstrip()
        for line in lines
    )
