"""How what happens in a stage becomes steps and findings, and who is blamed for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.core.errors import GridvisorError, SystemSaidNo, TimedOut
from gridvisor.core.events import Bus
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.release.candidate import Candidate, Source
from gridvisor.release.resolve import MirrorFailed
from gridvisor.trial import course as course_module
from gridvisor.trial.course import Course, ask
from gridvisor.trial.model import Blame, Stage, StageResult, Trial, Weight
from gridvisor.trial.site import Model

TRIAL = Trial("1", "kiam", "next", "", 1.0)
PACKAGES = (Source("sid", None, ("a",), {}),)


@pytest.fixture
def kept() -> list[Trial]:
    return []


@pytest.fixture
def course(tmp_path: Path, kept: list[Trial]) -> Course:
    host: Any = SimpleNamespace(bus=Bus())
    candidate = Candidate(tmp_path / "c.yaml", "next", "", PACKAGES, None, ())
    return Course(host, Model("kiam", tmp_path / "site.yaml"), candidate, tmp_path, TRIAL, kept.append)


def ran(course: Course, *errors: Exception | None, no_is: Weight = Weight.NO) -> StageResult:
    """A stage of steps that raise these."""
    with course.stage(Stage.UPGRADE, fault=Blame.MIDDLEWARE) as stage:
        for number, error in enumerate(errors):
            with stage.step(f"step {number}", no_is=no_is):
                if error is not None:
                    raise error
    return course.trial.stages[-1]


def test_a_stage_in_which_nothing_happens_finds_nothing(course: Course, kept: list[Trial]) -> None:
    result = ran(course, None, None)
    assert [step.name for step in result.steps] == ["step 0", "step 1"]
    assert result.findings == ()
    assert kept[-1].stages == (result,)


@pytest.mark.parametrize(
    ("error", "blame"),
    [
        (SystemSaidNo("no"), Blame.MIDDLEWARE),
        (TimedOut("late"), Blame.INFRASTRUCTURE),
        (GridvisorError("broke"), Blame.INFRASTRUCTURE),
        (MirrorFailed("gone"), Blame.MIRROR),
    ],
)
def test_what_a_step_raises_ends_the_stage_and_is_blamed(course: Course, error: Exception, blame: Blame) -> None:
    result = ran(course, None, error, None)
    assert [step.name for step in result.steps] == ["step 0", "step 1"]
    [finding] = result.findings
    assert (finding.blame, finding.weight, finding.step, finding.text) == (blame, Weight.NO, "step 1", str(error))


def test_a_group_of_errors_is_found_one_by_one(course: Course) -> None:
    group = ExceptionGroup("two", [SystemSaidNo("the site"), ExceptionGroup("more", [GridvisorError("ours")])])
    with course.stage(Stage.UPGRADE, fault=Blame.MIDDLEWARE) as stage, stage.step("ce"):
        raise group
    assert [finding.blame for finding in course.trial.findings] == [Blame.MIDDLEWARE, Blame.INFRASTRUCTURE]


def test_a_bug_of_ours_is_no_finding(course: Course) -> None:
    with pytest.raises(ZeroDivisionError):
        ran(course, ZeroDivisionError())
    with pytest.raises(ExceptionGroup):
        ran(course, ExceptionGroup("x", [ZeroDivisionError()]))


def test_where_a_no_is_a_remark_the_stage_goes_on_but_not_when_we_break(course: Course) -> None:
    result = ran(course, SystemSaidNo("no"), None, no_is=Weight.REMARK)
    assert len(result.steps) == 2
    assert [finding.weight for finding in result.findings] == [Weight.REMARK]
    result = ran(course, GridvisorError("broke"), None, no_is=Weight.REMARK)
    assert len(result.steps) == 1
    assert [finding.weight for finding in result.findings] == [Weight.NO]


def test_a_remark_does_not_hide_a_no_of_the_same_name(course: Course) -> None:
    with course.stage(Stage.ROLLBACK, fault=Blame.INFRASTRUCTURE) as stage:
        for weight in (Weight.REMARK, Weight.NO, Weight.NO):
            stage.find("downgrade", "answers[ce]", "it does not", weight=weight)
    assert [finding.weight for finding in course.trial.findings] == [Weight.REMARK, Weight.NO]


def test_without_packages_the_fault_is_the_configurations(course: Course) -> None:
    files_only = Candidate(course.candidate.file, "next", "", (), course.folder, ())
    faults = [replace(course, candidate=one).candidates_fault for one in (course.candidate, files_only)]
    assert faults == [Blame.MIDDLEWARE, Blame.CONFIGURATION]


P, F, B = Outcome.PASSED, Outcome.FAILED, Outcome.BLOCKED


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        # What was blocked is asked as well, once what blocked it has come right.
        ([("ce", "answers", F), ("site", "job", B)], [("ce", "answers", P), ("site", "job", P)], [P, P]),
        ([("ce", "answers", F), ("site", "job", B)], [("ce", "answers", P), ("site", "job", F)], [P, F]),
        # A probe that was not begun the second time takes its failure not back.
        ([("ce", "job", F)], [("ce", "job", B)], [F]),
        # Nor does another probe of the same name.
        ([("cvmfs", "mounted", F), ("nfs", "mounted", P)], [("cvmfs", "mounted", F), ("nfs", "mounted", P)], [F, P]),
        ([("cvmfs", "mounted", F)], [("cvmfs", "mounted", F), ("cvmfs", "mounted", P)], [F]),
        ([("ce", "answers", P)], None, [P]),  # there is nothing to ask again
    ],
)
def test_what_did_not_pass_is_asked_once_more(
    course: Course,
    monkeypatch: pytest.MonkeyPatch,
    first: list[tuple[str, str, Outcome]],
    second: list[tuple[str, str, Outcome]] | None,
    said: list[Outcome],
) -> None:
    runs = [[ProbeResult(*one, 0.1) for one in run] for run in (first, second) if run is not None]
    monkeypatch.setattr(course_module, "run_probes", lambda *_, **__: tuple(runs.pop(0)))
    monkeypatch.setattr(course_module.time, "sleep", lambda _: None)
    deployment: Any = SimpleNamespace(site=SimpleNamespace(site="kiam-trial"))
    assert [one.outcome for one in ask(course, deployment, None)] == said
    assert runs == []
