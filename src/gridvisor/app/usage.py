"""Which domain used how much of the processor between two looks."""

from __future__ import annotations

from collections.abc import Sequence

from gridvisor.monitor.protocol import DomainRow


def usage(before: Sequence[DomainRow], after: Sequence[DomainRow], *, seconds: float) -> list[tuple[str, ...]]:
    """Rows of name, state, processor seconds, per cent of one processor, memory held and given; the busiest first."""
    earlier = {row.id: row.cpu_s for row in before}
    used = {row.id: max(0.0, row.cpu_s - earlier.get(row.id, row.cpu_s)) / seconds * 100 for row in after}
    return [
        (row.name, row.state.value, f"{row.cpu_s:.1f}", f"{used[row.id]:.1f}", str(row.held_mib), str(row.memory_mib))
        for row in sorted(after, key=lambda row: -used[row.id])
    ]
