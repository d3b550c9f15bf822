"""What `domain top` counts."""

from __future__ import annotations

from gridvisor.app.usage import usage
from gridvisor.monitor.protocol import DomainRow, State


def row(name: str, number: int, cpu_s: float) -> DomainRow:
    return DomainRow(name, number, 256, 1, State.RUNNING, cpu_s, 0.0, 90)


def test_the_busiest_comes_first_with_its_share_of_one_processor() -> None:
    before = [row("idle", 1, 5.0), row("busy", 2, 1.0)]
    after = [row("idle", 1, 5.0), row("busy", 2, 2.5)]
    assert usage(before, after, seconds=2.0) == [
        ("busy", "running", "2.5", "75.0", "90", "256"),
        ("idle", "running", "5.0", "0.0", "90", "256"),
    ]


def test_a_domain_that_came_meanwhile_has_no_share_yet_and_one_that_went_is_gone() -> None:
    rows = usage([row("gone", 1, 9.0)], [row("new", 2, 3.0)], seconds=1.0)
    assert [(name, share) for name, _, _, share, _, _ in rows] == [("new", "0.0")]


def test_time_that_went_back_is_no_negative_share() -> None:
    """A guest that reboots gets a new process."""
    ((_, _, seconds, share, _, _),) = usage([row("vm", 1, 9.0)], [row("vm", 1, 0.5)], seconds=1.0)
    assert (seconds, share) == ("0.5", "0.0")


def test_a_domain_is_known_by_its_id_and_not_by_its_name() -> None:
    ((*_, share, _, _),) = usage([row("old", 1, 1.0)], [row("new", 1, 2.0)], seconds=1.0)
    assert share == "100.0"
