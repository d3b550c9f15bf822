"""Work in threads: a bounded fan-out that waits for everyone and reports every failure; one thing beside another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(
    items: Iterable[T], work: Callable[[T], R], *, workers: int = 8, halt: threading.Event | None = None
) -> dict[T, R]:
    """The result of `work` for every item, once all have ended.

    Raises an ExceptionGroup of all failures, each with a note that names its item. An interrupt begins with no other
    item, and sets `halt`, by which work that is under way may know that it is to end.
    """
    wanted = list(items)
    if not wanted:
        return {}
    good: dict[T, R] = {}
    bad: list[Exception] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            futures = {pool.submit(work, item): item for item in wanted}
            for future in as_completed(futures):
                try:
                    good[futures[future]] = future.result()
                except Exception as error:
                    error.add_note(f"while working on {futures[future]}")
                    bad.append(error)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if halt is not None:
                halt.set()
            raise
    if bad:
        raise ExceptionGroup(f"{len(bad)} of {len(wanted)} failed", bad)
    return {item: good[item] for item in wanted}


@contextmanager
def aside(work: Callable[[], R]) -> Iterator[Future[R]]:
    """Have `work` done beside the body, which may ask the future for its result.

    In the end it is waited for, but not when the body was interrupted: the work ends with the process, so it must be
    such that may be killed at any moment, with commands that end with us.
    """
    future: Future[R] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=do, name="aside", daemon=True)  # which no end of a process waits for
    thread.start()
    try:
        yield future
    except Exception:
        thread.join()
        raise
    thread.join()
