"""Deadlines: one is made for a whole story and handed down, so that no inner wait outlives the outer one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gridvisor.core.errors import TimedOut

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a check that `wait_until` should try again; its text says what was seen."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        """Seconds that are left, never below zero."""
        return max(0.0, self.at_s - time.monotonic())


def wait_until(
    what: str,
    check: Callable[[], T],
    deadline: Deadline,
    *,
    every_s: float = 0.1,
    stop: threading.Event | None = None,
) -> T:
    """What `check` returns, once it stops raising NotYet; any other error of it flies out at once.

    Raises TimedOut, which holds the last NotYet, at the deadline or when `stop` is set.
    """
    pause = stop or threading.Event()
    while True:
        try:
            return check()
        except NotYet as why:
            left_s = deadline.left_s
            if not left_s or pause.wait(min(every_s, left_s)):
                raise TimedOut(f"{what}: {why}") from why
