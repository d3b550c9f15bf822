"""Waiting for what a service does now and then, such as reading its sources again."""

from __future__ import annotations

from collections.abc import Callable

from gridvisor.core.deadline import Deadline, wait_until
from gridvisor.core.errors import SystemSaidNo, TimedOut

_SETTLES_S = 35.0  # twice what the slowest of them takes: BDII and Prometheus look every 15 s


def settled(check: Callable[[], None]) -> None:
    """Return once `check` does not raise NotYet any more. Raises SystemSaidNo when that does not happen."""
    try:
        wait_until("it has not settled", check, Deadline.after(_SETTLES_S), every_s=2)
    except TimedOut as error:
        raise SystemSaidNo(error.message) from error
