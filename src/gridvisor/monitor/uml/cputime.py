"""Processor time of a guest: its kernel and the processes that it runs its own processes in."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, *, proc: Path = Path("/proc")) -> float:
    """Seconds used by process `pid` and all its descendants, ended ones included (proc(5): stat, fields 14 to 17)."""
    total = 0.0
    waiting = [pid]
    while waiting:
        process = waiting.pop()
        try:
            stat = (proc / str(process) / "stat").read_text()
            children = (proc / str(process) / "task" / str(process) / "children").read_text()
        except OSError:  # it has just ended; its time is in its parent's
            continue
        fields = stat.rpartition(")")[2].split()  # the command's name may hold blanks and parentheses
        total += sum(int(field) for field in fields[11:15]) / _TICKS_PER_S
        waiting += [int(child) for child in children.split()]
    return total
