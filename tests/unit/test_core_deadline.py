from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gridvisor.core import deadline
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import TimedOut


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still; its only element is the time."""
    now = [100.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: now[0])
    return now


class Pause(threading.Event):
    """An event whose waits let the clock run and take no time."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.clock = clock
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.clock[0] += timeout
        return self.is_set()


def check_of(*seen: str | int) -> Callable[[], int]:
    """A check that gives its numbers, and says its texts as what it saw; the last one for ever."""
    left = list(seen)

    def check() -> int:
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, str):
            raise NotYet(one)
        return one

    return check


def test_a_deadline_runs_down_to_zero(clock: list[float]) -> None:
    end = Deadline.after(5)
    clock[0] += 3
    assert end.left_s == 2
    clock[0] += 3
    assert end.left_s == 0


def test_waits_until_the_check_gives_a_value(clock: list[float]) -> None:
    pause = Pause(clock)
    assert wait_until("it", check_of("a", "b", 7), Deadline.after(10), every_s=1, stop=pause) == 7
    assert pause.waits == [1, 1]


def test_the_last_wait_is_cut_to_the_deadline_and_the_last_look_kept(clock: list[float]) -> None:
    pause = Pause(clock)
    with pytest.raises(TimedOut, match="the unit: it is starting") as caught:
        wait_until("the unit", check_of("it is down", "it is starting"), Deadline.after(2.5), every_s=1, stop=pause)
    assert pause.waits == [1, 1, 0.5]
    assert isinstance(caught.value.__cause__, NotYet)


def test_a_passed_deadline_still_looks_once() -> None:
    assert wait_until("it", check_of(7), Deadline(0.0)) == 7
    with pytest.raises(TimedOut, match="it: no"):
        wait_until("it", check_of("no"), Deadline(0.0))


def test_another_error_flies_out_at_once() -> None:
    def broken() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        wait_until("it", broken, Deadline.after(10))


def test_stop_ends_the_wait(clock: list[float]) -> None:
    pause = Pause(clock)
    pause.set()
    with pytest.raises(TimedOut, match="it: no"):
        wait_until("it", check_of("no"), Deadline.after(1000), stop=pause)
    assert len(pause.waits) == 1
