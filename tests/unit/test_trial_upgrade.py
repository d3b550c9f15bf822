"""What a machine gets of a candidate: packages and then files; both, when it has to be made anew for the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.app.site.plan import Act, Step
from gridvisor.app.site.upgrade import Upgraded
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.core.events import Bus
from gridvisor.run.command import Unreachable
from gridvisor.trial import upgrade as upgrade_module
from gridvisor.trial.course import StageRun, leaves
from gridvisor.trial.load import Problem
from gridvisor.trial.model import Blame, Stage
from gridvisor.trial.upgrade import apply_candidate, up_with_files


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    """Files of the candidate, for one role."""
    (tmp_path / "se").mkdir()
    return tmp_path


HAS_5 = {"xrootd": "5"}
HAS_6 = {"xrootd": "6"}


@pytest.mark.parametrize(
    ("act", "has_then", "done"),
    [
        (Act.CHANGE, HAS_6, ["upgrade", "up", "ready"]),
        (Act.REPLACE, HAS_5, ["upgrade", "up", "before new", "upgrade", "ready"]),
        (Act.REPLACE, HAS_6, ["upgrade", "up", "before new", "upgrade", "ready"]),  # with its disk, but more memory
    ],
)
def test_a_machine_made_anew_is_upgraded_again(
    roles: Path, monkeypatch: pytest.MonkeyPatch, act: Act, has_then: dict[str, str], done: list[str]
) -> None:
    seen: list[str] = []
    machine: Any = SimpleNamespace(name="se", role=SimpleNamespace(name="se"))
    deployment: Any = SimpleNamespace(machine=lambda _: machine)
    of_role = SimpleNamespace(asked=("xrootd",), install=(SimpleNamespace(name="xrootd"),))
    course: Any = SimpleNamespace(release=SimpleNamespace(roles={"se": of_role}), upgrade_s=1)

    def up(_: object, show: Callable[[Sequence[Step]], None], **__: object) -> tuple[Step, ...]:
        seen.append("up")
        steps = (Step(act, "se"),)
        show(steps)
        return steps

    def upgrade_machine(*_: object, **__: object) -> Upgraded:
        before = has_then if "upgrade" in seen else HAS_5
        seen.append("upgrade")
        return Upgraded(before, HAS_6, "")

    monkeypatch.setattr(upgrade_module, "with_candidate_roles", lambda *_: deployment)
    monkeypatch.setattr(upgrade_module, "up", up)
    monkeypatch.setattr(upgrade_module, "upgrade_machine", upgrade_machine)
    monkeypatch.setattr(upgrade_module, "require_ready", lambda *_: seen.append("ready"))
    _, upgraded = apply_candidate(course, deployment, "se", roles=roles, before_anew=lambda: seen.append("before new"))
    assert seen == done
    assert upgraded is not None
    assert upgraded.changed == ("xrootd",)


@pytest.mark.parametrize(
    ("comes_back", "raised"), [(True, Unreachable), (False, SystemSaidNo)], ids=["comes back", "is gone"]
)
def test_a_machine_that_its_upgrade_takes_away_has_said_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool, raised: type[Exception]
) -> None:
    machine: Any = SimpleNamespace(name="se", role=SimpleNamespace(name="se"))
    deployment: Any = SimpleNamespace(machine=lambda _: machine)
    of_role = SimpleNamespace(asked=("xrootd",), install=(SimpleNamespace(name="xrootd"),))
    course: Any = SimpleNamespace(release=SimpleNamespace(roles={"se": of_role}), upgrade_s=1)

    def lost(*_: object, **__: object) -> None:
        raise Unreachable("'se' was lost.")

    def require_ready(*_: object) -> None:
        if not comes_back:
            raise SystemSaidNo("'se' does not answer.")

    monkeypatch.setattr(upgrade_module, "upgrade_machine", lost)
    monkeypatch.setattr(upgrade_module, "require_ready", require_ready)
    with pytest.raises(raised):
        apply_candidate(course, deployment, "se", roles=None)


@pytest.mark.parametrize("late", [TimedOut("late"), ExceptionGroup("up", [TimedOut("late")])], ids=["alone", "grouped"])
def test_a_service_that_is_late_with_its_files_has_said_no(monkeypatch: pytest.MonkeyPatch, late: Exception) -> None:
    """So the downgrade is but a remark, and the snapshot is restored after it."""

    def up(*_: object, **__: object) -> None:
        raise late

    monkeypatch.setattr(upgrade_module, "up", up)
    deployment: Any = None
    with pytest.raises((SystemSaidNo, ExceptionGroup)) as raised:
        up_with_files(deployment, {"se"})
    assert [type(one) for one in leaves(raised.value)] == [SystemSaidNo]


@pytest.mark.parametrize("problems", [(), (Problem("job lost", "ce", "it is gone"),)])
def test_what_went_wrong_in_use_keeps_the_logs_of_that_moment(tmp_path: Path, problems: tuple[Problem, ...]) -> None:
    notes: dict[str, object] = {}
    course: Any = SimpleNamespace(host=SimpleNamespace(bus=Bus()), note=lambda **facts: notes.update(facts))
    stage = StageRun(course, Stage.UPGRADE, Blame.MIDDLEWARE)
    stage.evidence = lambda step, _: (f"evidence/{step}",)  # type: ignore[method-assign]
    load: Any = SimpleNamespace(ended=lambda *, more: problems, deployment=None, summary="", jobs=())
    upgrade_module._tell_load(stage, load, more=True)
    assert [one.evidence for one in stage.findings] == [("evidence/jobs and files of the meantime",)] * len(problems)
