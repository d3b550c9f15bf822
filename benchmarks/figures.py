"""Seconds of what is measured, and a line for each figure: what all benchmarks print."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def show(what: str, values: Sequence[float], unit: str = "s", target: str = "") -> None:
    """Print the median of `values`, the least and the most of them, and what is aimed at."""
    spread = f"{min(values):.2f} to {max(values):.2f}, n={len(values)}"
    print(f"{what:<62} {statistics.median(values):8.2f} {unit:<4} ({spread}) {target}".rstrip(), flush=True)
