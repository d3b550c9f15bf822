from __future__ import annotations

import pytest

from gridvisor.core.undo import Undo

STEPS = ("a", "b", "c", "d")


def story(there: list[str], said: list[str], *, fails: str | None = None, stubborn: str | None = None) -> None:
    """Make each step in turn; `fails` breaks half-way in that one, the undo of `stubborn` raises."""

    def take_back(step: str) -> None:
        if step == stubborn:
            raise OSError("it is stuck")
        if step in there:
            there.remove(step)

    with Undo(said.append) as undo:
        for step in STEPS:
            undo.add(step, lambda step=step: take_back(step))
            there.append(step)
            if step == fails:
                raise ValueError(step)


def test_success_keeps_everything() -> None:
    there: list[str] = []
    story(there, [])
    assert there == list(STEPS)


@pytest.mark.parametrize("fails", STEPS)
def test_failing_at_each_step_leaves_nothing(fails: str) -> None:
    there: list[str] = []
    with pytest.raises(ValueError, match=fails):
        story(there, [], fails=fails)
    assert there == []


@pytest.mark.parametrize("stubborn", STEPS)
def test_an_undo_that_fails_is_told_and_stops_no_other(stubborn: str) -> None:
    there: list[str] = []
    said: list[str] = []
    with pytest.raises(ValueError, match="d"):
        story(there, said, fails="d", stubborn=stubborn)
    assert there == [stubborn]
    assert said == [f"could not undo {stubborn}: it is stuck"]


def test_newest_first() -> None:
    order: list[str] = []

    def interrupted() -> None:
        with Undo(order.append) as undo:
            for step in STEPS:
                undo.add(step, lambda step=step: order.append(step))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert order == list(reversed(STEPS))


def test_keep_undoes_nothing_and_names_what_stays() -> None:
    said: list[str] = []

    def failing() -> None:
        with Undo(said.append, keep=True) as undo:
            undo.add("volume a", lambda: said.append("undone"))
            undo.add("tap b", lambda: said.append("undone"))
            raise ValueError

    with pytest.raises(ValueError):
        failing()
    assert said == ["kept for inspection: volume a, tap b"]
