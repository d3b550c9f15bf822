"""What has become slower, and what is but the spread of any two runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.trial import measure as measure_module
from gridvisor.trial.measure import SUBMISSION, UPLOAD, in_use, joined, parse_starts, slower
from gridvisor.trial.model import Measure

BOOT = "start of bdii.service on mon"


def is_slower(what: str, unit: str, before: Sequence[float], after: Sequence[float]) -> bool:
    found = slower([Measure(what, unit, tuple(before))], [Measure(what, unit, tuple(after))])
    assert set(found) <= {what}
    return bool(found)


@pytest.mark.parametrize(
    ("what", "unit", "before", "after"),
    [
        # As measured on one site, twice.
        (SUBMISSION, "s", (0.80, 1.03, 2.20), (1.09, 0.83, 1.34)),
        (SUBMISSION, "s", (1.09, 0.83, 1.34), (0.80, 1.03, 2.20)),
        (UPLOAD, "MiB/s", (23.1, 21.3, 31.0), (22.1, 28.9, 41.7)),
        (BOOT, "s", (2.69,), (2.38,)),
        ("start of grid-session.service on wn1", "s", (1.2,), (5.65,)),
        ("start of grid-session.service on wn1", "s", (4.08,), (46.4, 4.1)),  # the second boot shows that it was chance
        # One slow sample is nobody's fault.
        (SUBMISSION, "s", (0.8, 1.0, 1.1), (0.9, 1.0, 9.0)),
        # What grows, and is no matter of time.
        ("memory in use on ce", "MiB", (80.0,), (190.0,)),
        # Faster.
        (UPLOAD, "MiB/s", (20.0, 21.0, 22.0), (90.0, 91.0, 92.0)),
        (SUBMISSION, "s", (1.0,), ()),
    ],
)
def test_the_spread_of_repeated_runs_is_not_slower(
    what: str, unit: str, before: Sequence[float], after: Sequence[float]
) -> None:
    assert not is_slower(what, unit, before, after)


@pytest.mark.parametrize(
    ("what", "unit", "before", "after"),
    [
        (SUBMISSION, "s", (0.80, 1.03, 1.20), (2.1, 2.3, 2.6)),  # twice as long
        (UPLOAD, "MiB/s", (23.1, 21.3, 31.0), (9.0, 10.0, 11.0)),
        (BOOT, "s", (2.69,), (22.4,)),  # twenty seconds late
    ],
)
def test_what_takes_twice_as_long_is_slower(
    what: str, unit: str, before: Sequence[float], after: Sequence[float]
) -> None:
    assert is_slower(what, unit, before, after)


def test_it_is_told_in_times_with_their_spread() -> None:
    before, after = Measure(UPLOAD, "MiB/s", (20.0, 25.0)), Measure(UPLOAD, "MiB/s", (5.0, 4.0))
    [text] = slower([before], [after]).values()
    assert "0.045 s (0.04 to 0.05) before" in text
    assert "0.225 s (0.2 to 0.25) with the candidate for a MiB" in text


def test_what_only_one_side_has_is_not_compared() -> None:
    assert slower([Measure(SUBMISSION, "s", (1.0,))], [Measure(BOOT, "s", (30.0,))]) == {}
    assert slower([], [Measure(SUBMISSION, "s", (30.0,))]) == {}


def test_samples_of_two_rounds_are_joined() -> None:
    first = (Measure(SUBMISSION, "s", (1.0, 2.0)), Measure(BOOT, "s", (3.0,)))
    assert joined(first, (Measure(SUBMISSION, "s", (4.0,)),)) == (
        Measure(SUBMISSION, "s", (1.0, 2.0, 4.0)),
        Measure(BOOT, "s", (3.0,)),
    )


def test_starts_are_read_from_systemd() -> None:
    text = """\
InactiveExitTimestampMonotonic=4502211
ActiveEnterTimestampMonotonic=7187374
Id=bdii.service

InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
Id=never.service

InactiveExitTimestampMonotonic=9000000
ActiveEnterTimestampMonotonic=8000000
Id=begins-again.service
"""
    assert parse_starts(text) == {"bdii.service": pytest.approx(2.685163)}


@pytest.mark.parametrize("has", ["ce", "se"])
def test_clients_that_never_come_back_are_the_sites_no(has: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> NoReturn:
        raise TimedOut("no answer in 120 s")

    machine = SimpleNamespace(fqdn="se.grid.test")
    deployment: Any = SimpleNamespace(of_role=lambda role: [machine] if role in ("ui", has) else [])
    account = SimpleNamespace(
        deployment=deployment, user=SimpleNamespace(vo="dteam"), require_proxy=lambda: None, run=never
    )
    monkeypatch.setattr(measure_module, "Account", SimpleNamespace(of=lambda _: account))
    monkeypatch.setattr(measure_module, "work_folder", lambda _: nullcontext("/tmp/x"))
    monkeypatch.setattr(measure_module, "submit", never)
    with pytest.raises(SystemSaidNo):
        in_use(deployment)
