"""What the processes of a guest use: its kernel, and those that its own processes run in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Use:
    """Processor time in seconds, that of ended processes included, and memory held in MiB."""

    cpu_s: float
    held_mib: int


def use_of(pid: int, *, proc: Path = Path("/proc")) -> Use:
    """What process `pid` and all its descendants use (proc(5): stat fields 14 to 17, statm field 2).

    The guest's memory is mapped by each of them, so the largest counts, not the sum.
    """
    cpu_ticks, held_pages = 0, 0
    waiting = [pid]
    while waiting:
        folder = proc / str(waiting.pop())
        try:
            stat = (folder / "stat").read_text()
            pages = int((folder / "statm").read_text().split()[1])
            children = (folder / "task" / folder.name / "children").read_text()
        except OSError:  # it has just ended; its time is in its parent's
            continue
        fields = stat.rpartition(")")[2].split()  # the command's name may hold blanks and parentheses
        cpu_ticks += sum(int(field) for field in fields[11:15])
        held_pages = max(held_pages, pages)
        waiting += [int(child) for child in children.split()]
    return Use(cpu_ticks / _TICKS_PER_S, held_pages * _PAGE_BYTES >> 20)
