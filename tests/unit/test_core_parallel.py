from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from gridvisor.core.parallel import aside, each


def test_results_in_the_order_of_the_items() -> None:
    assert list(each([3, 1, 2], lambda n: n * n).items()) == [(3, 9), (1, 1), (2, 4)]
    assert each([], lambda n: n) == {}


def test_all_are_waited_for_and_all_failures_told() -> None:
    ended: list[int] = []
    failed = threading.Event()

    def work(n: int) -> int:
        if n % 2:
            failed.set()
            raise ValueError(f"odd {n}")
        assert failed.wait(10)  # ends only after a sibling has failed
        ended.append(n)
        return n

    with pytest.raises(ExceptionGroup, match="2 of 4 failed") as caught:
        each([0, 1, 2, 3], work)
    assert sorted(ended) == [0, 2]
    told = {(str(e), *e.__notes__) for e in caught.value.exceptions}
    assert told == {("odd 1", "while working on 1"), ("odd 3", "while working on 3")}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever starts tests in the background of a shell has interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_halts_what_is_under_way_and_begins_nothing_else() -> None:
    halt, begun, both = threading.Event(), [], threading.Barrier(2)

    def work(n: int) -> None:
        begun.append(n)
        if both.wait(10) == 0:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert halt.wait(10)

    with pytest.raises(KeyboardInterrupt):
        each(range(5), work, workers=2, halt=halt)
    assert sorted(begun) == [0, 1]


def test_no_more_than_the_workers_at_once() -> None:
    both_in = threading.Barrier(2)
    running, most = [], []
    lock = threading.Lock()

    def work(n: int) -> None:
        with lock:
            running.append(n)
            most.append(len(running))
        both_in.wait(10)  # breaks unless two run at once
        with lock:
            running.remove(n)

    each(range(8), work, workers=2)
    assert max(most) == 2


def test_what_is_done_aside_is_waited_for() -> None:
    may_end, done = threading.Event(), threading.Event()

    def work() -> int:
        assert may_end.wait(10)
        done.set()
        return 7

    with aside(work) as result:
        may_end.set()
    assert done.is_set()
    assert result.result() == 7


def test_what_breaks_aside_is_raised_where_it_is_asked_for() -> None:
    def work() -> None:
        raise ValueError("no")

    with aside(work) as result:
        pass
    with pytest.raises(ValueError, match="no"):
        result.result()


@pytest.mark.parametrize(("error", "is_waited_for"), [(ValueError, True), (KeyboardInterrupt, False)])
def test_only_an_interrupt_does_not_wait(error: type[BaseException], is_waited_for: bool) -> None:
    may_end, done = threading.Event(), threading.Event()

    def work() -> None:
        assert may_end.wait(10)
        done.set()

    def interrupted() -> None:
        with aside(work):
            if is_waited_for:
                may_end.set()
            raise error

    with pytest.raises(error):
        interrupted()
    assert done.is_set() == is_waited_for
    may_end.set()
