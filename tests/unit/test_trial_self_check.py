"""Whose word it is when the site of the baseline says no."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.core.errors import GridvisorError, SystemSaidNo, TimedOut
from gridvisor.trial import self_check
from gridvisor.trial.course import leaves
from gridvisor.trial.self_check import BASELINE, at_baseline


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_no_of_the_baseline_is_not_the_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: bool, there: bool
) -> None:
    """Whether it is restored or made: nothing of the candidate is on it yet."""
    no = SystemSaidNo("'ce' crashed.")
    late = TimedOut("'se' is late.")

    def says_no(*_: object, **__: object) -> None:
        raise ExceptionGroup("up", [no, late]) if grouped else no

    deployment: Any = SimpleNamespace(folder=tmp_path)
    monkeypatch.setattr(self_check, "site_of", lambda _: deployment if there else None)
    monkeypatch.setattr(self_check, "list_snapshots", lambda _: [SimpleNamespace(name=BASELINE)])
    monkeypatch.setattr(self_check, "restore_snapshot", says_no)
    monkeypatch.setattr(self_check, "_site", lambda _: deployment)
    monkeypatch.setattr(self_check, "up", says_no)
    course: Any = SimpleNamespace(pristine=False)
    with pytest.raises((GridvisorError, ExceptionGroup)) as raised:
        at_baseline(course)
    told = list(leaves(raised.value))
    assert not any(isinstance(one, SystemSaidNo) for one in told)
    assert any("The baseline says no: 'ce' crashed." in str(one) for one in told)
    assert (late in told) == grouped
