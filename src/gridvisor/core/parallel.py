"""Bounded fan-out over threads that waits for everyone and reports every failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], work: Callable[[T], R], *, workers: int = 8) -> dict[T, R]:
    """The result of `work` for every item, once all have ended.

    Raises an ExceptionGroup of all failures, each with a note that names its item.
    """
    wanted = list(items)
    if not wanted:
        return {}
    good: dict[T, R] = {}
    bad: list[Exception] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = {pool.submit(work, item): item for item in wanted}
        for future in as_completed(futures):
            try:
                good[futures[future]] = future.result()
            except Exception as error:
                error.add_note(f"while working on {futures[future]}")
                bad.append(error)
    if bad:
        raise ExceptionGroup(f"{len(bad)} of {len(wanted)} failed", bad)
    return {item: good[item] for item in wanted}
