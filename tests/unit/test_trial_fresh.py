"""What becomes of a fresh site that does not come up: whose word it is."""

from __future__ import annotations

from typing import Any

import pytest

from gridvisor.app.site.ready import Halted, NotReady
from gridvisor.app.site.up import causes
from gridvisor.core.errors import GridvisorError, SystemSaidNo, TimedOut
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.trial import fresh


def failed(said: str) -> CommandFailed:
    return CommandFailed(Result(Command.of("mmdebstrap"), 1, "", said, 1.0, "local"))


@pytest.mark.parametrize(
    ("error", "is_candidates"),
    [
        (NotReady("'ce' still waits for A-REX answers over HTTPS."), True),
        (failed("E: Sub-process /usr/bin/dpkg returned an error code (1)"), True),
        (failed("The following packages have unmet dependencies:"), True),
        (failed("mmdebstrap: no space left"), False),
        (TimedOut("'mmdebstrap' had not ended after 900 s and was killed."), False),
        (GridvisorError("keeper is gone"), False),
    ],
)
def test_what_the_candidate_says_is_told_from_what_broke_beside_it(
    monkeypatch: pytest.MonkeyPatch, error: GridvisorError, is_candidates: bool
) -> None:
    ours = GridvisorError("our own")

    def up(*_: object, **__: object) -> None:
        raise ExceptionGroup("two", [error, ours])

    monkeypatch.setattr(fresh, "up", up)
    deployment: Any = None
    with pytest.raises(ExceptionGroup) as raised:
        fresh._up(deployment)
    first, second = raised.value.exceptions
    assert isinstance(first, SystemSaidNo) == is_candidates
    assert str(error) in str(first)
    assert second is ours


def test_machines_that_were_but_left_are_no_causes() -> None:
    late, left = NotReady("'ce' still waits for sshd."), Halted("'ui' was left.")
    assert causes(ExceptionGroup("two", [left, late])).exceptions == (late,)
    assert causes(ExceptionGroup("one", [left])).exceptions == (left,)
