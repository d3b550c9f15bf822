"""The verdict: every combination, and never a wrong 'ready'."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridvisor.core.errors import ExitCode
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.trial.model import Blame, Finding, Stage, StageResult, Step, Trial, Verdict, Weight
from gridvisor.trial.verdict import against, exit_code, gaps, in_the_way, left_out, verdict_of
from sample_trial import not_ready, ready

PASSED = ProbeResult("ce", "good", Outcome.PASSED, 0.1)


def finding(blame: Blame, weight: Weight, *, stage: Stage = Stage.FRESH, what: str = "a", step: str = "s") -> Finding:
    return Finding(blame, weight, stage, step, what, "text")


def stage(name: Stage, *findings: Finding, probes: tuple[ProbeResult, ...] = (PASSED,)) -> StageResult:
    return StageResult(name, 0.0, 1.0, (Step("s", 0.0, 1.0, probes),), findings)


def trial(
    *findings: Finding, wanted: tuple[Stage, ...] = tuple(Stage), done: tuple[Stage, ...] = tuple(Stage)
) -> Trial:
    """A trial in which those stages ran; the findings are the last one's."""
    stages = tuple(stage(name, *(findings if name is done[-1] else ())) for name in done)
    return Trial("id", "s", "c", "", 0.0, wanted, stages=stages)


def test_nothing_found_is_ready() -> None:
    assert verdict_of(trial()) is Verdict.READY


@pytest.mark.parametrize(
    ("blame", "weight", "verdict"),
    [
        (Blame.MIDDLEWARE, Weight.NO, Verdict.NOT_READY),
        (Blame.CONFIGURATION, Weight.NO, Verdict.NOT_READY),
        (Blame.INFRASTRUCTURE, Weight.NO, Verdict.NONE),
        (Blame.MIRROR, Weight.NO, Verdict.NONE),
        *((blame, weight, Verdict.REMARKS) for blame in Blame for weight in (Weight.REMARK, Weight.KNOWN)),
    ],
)
def test_one_finding(blame: Blame, weight: Weight, verdict: Verdict) -> None:
    assert verdict_of(trial(finding(blame, weight))) is verdict


@pytest.mark.parametrize("missing", Stage)
def test_without_a_stage_that_was_wanted_nothing_is_known(missing: Stage) -> None:
    done = tuple(one for one in Stage if one is not missing)
    assert verdict_of(trial(done=done)) is Verdict.NONE
    assert verdict_of(trial(finding(Blame.MIDDLEWARE, Weight.NO), done=done)) is Verdict.NOT_READY


@pytest.mark.parametrize("other", Stage)
def test_a_stage_that_was_not_wanted_is_a_remark(other: Stage) -> None:
    rest = tuple(one for one in Stage if one is not other)
    assert verdict_of(trial(wanted=rest, done=rest)) is Verdict.REMARKS
    assert left_out(trial(wanted=rest, done=rest)) == (other,)


def test_a_trial_of_nothing_is_never_ready() -> None:
    assert verdict_of(Trial("id", "s", "c", "", 0.0, ())) is Verdict.NONE
    assert verdict_of(Trial("id", "s", "c", "", 0.0)) is Verdict.NONE


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.PASSED])
@pytest.mark.parametrize("weight", [None, Weight.REMARK, Weight.KNOWN])
def test_a_stage_in_which_nothing_passed_proves_nothing(outcome: Outcome, weight: Weight | None) -> None:
    findings = [finding(Blame.MIDDLEWARE, weight, what="good")] if weight else []
    result = stage(Stage.FRESH, *findings, probes=(replace(PASSED, outcome=outcome),))
    rest = tuple(stage(one) for one in Stage if one is not Stage.FRESH)
    assert verdict_of(replace(trial(), stages=(result, *rest))) is Verdict.NONE


@pytest.mark.parametrize(
    ("outcome", "weight", "step", "verdict"),
    [
        (Outcome.FAILED, None, "s", Verdict.NONE),
        (Outcome.ERROR, None, "s", Verdict.NONE),
        (Outcome.FAILED, Weight.KNOWN, "s", Verdict.REMARKS),
        (Outcome.FAILED, Weight.KNOWN, "before", Verdict.REMARKS),
        (Outcome.ERROR, Weight.KNOWN, "s", Verdict.NONE),
        (Outcome.FAILED, Weight.REMARK, "s", Verdict.REMARKS),
        (Outcome.FAILED, Weight.REMARK, "before", Verdict.NONE),
        (Outcome.FAILED, Weight.NO, "before", Verdict.NOT_READY),
        (Outcome.BLOCKED, None, "s", Verdict.NONE),
        (Outcome.BLOCKED, Weight.KNOWN, "s", Verdict.NONE),
        (Outcome.BLOCKED, Weight.NO, "s", Verdict.NOT_READY),
        (Outcome.SKIPPED, None, "s", Verdict.READY),
    ],
)
def test_a_bad_probe_that_no_finding_tells_of_is_no_ready(
    outcome: Outcome, weight: Weight | None, step: str, verdict: Verdict
) -> None:
    findings = [finding(Blame.MIDDLEWARE, weight, what="bad", step=step)] if weight else []
    result = stage(Stage.FRESH, *findings, probes=(PASSED, ProbeResult("ce", "bad", outcome, 0.1)))
    rest = tuple(stage(one) for one in Stage if one is not Stage.FRESH)
    assert verdict_of(replace(trial(), stages=(result, *rest))) is verdict


@pytest.mark.parametrize(("told_in", "verdict"), [("s", Verdict.REMARKS), ("before", Verdict.NONE)])
def test_what_a_failure_blocks_that_is_but_a_remark_is_no_gap(told_in: str, verdict: Verdict) -> None:
    remark = finding(Blame.MIDDLEWARE, Weight.REMARK, what="bad", step=told_in)
    bad, blocked = (ProbeResult("ce", name, of, 0.1) for name, of in (("bad", Outcome.FAILED), ("x", Outcome.BLOCKED)))
    result = stage(Stage.ROLLBACK, remark, probes=(PASSED, bad, blocked))
    rest = tuple(stage(one) for one in Stage if one is not Stage.ROLLBACK)
    assert verdict_of(replace(trial(), stages=(result, *rest))) is verdict


def test_a_trial_that_never_installs_the_candidate_has_no_verdict() -> None:
    rest = (Stage.SELF_CHECK, Stage.ROLLBACK)
    assert verdict_of(trial(wanted=rest, done=rest)) is Verdict.NONE


findings = st.builds(
    Finding,
    st.sampled_from(Blame),
    st.sampled_from(Weight),
    st.sampled_from(Stage),
    st.sampled_from(["s", "t"]),
    st.sampled_from(["good", "bad", "ce"]),
    st.just(""),
)
results = st.builds(
    ProbeResult, st.just("ce"), st.sampled_from(["good", "bad"]), st.sampled_from(Outcome), st.just(0.1)
)
steps = st.builds(
    Step, st.sampled_from(["s", "t"]), st.just(0.0), st.just(1.0), st.lists(results, max_size=3).map(tuple)
)
stages = st.builds(
    StageResult,
    st.sampled_from(Stage),
    st.just(0.0),
    st.just(1.0),
    st.lists(steps, max_size=3).map(tuple),
    st.lists(findings, max_size=3).map(tuple),
)
trials = st.builds(
    Trial,
    st.just("id"),
    st.just("s"),
    st.just("c"),
    st.just(""),
    st.just(0.0),
    st.lists(st.sampled_from(Stage), unique=True).map(tuple),
    stages=st.lists(stages, max_size=4, unique_by=lambda one: one.stage).map(tuple),
    verdict=st.none() | st.sampled_from(Verdict),
)


@given(trials)
def test_never_a_wrong_ready(one: Trial) -> None:
    if verdict_of(one) in (Verdict.READY, Verdict.REMARKS):
        assert {Stage.FRESH, Stage.UPGRADE} & set(one.wanted)
        assert {result.stage for result in one.stages} >= set(one.wanted)
        assert all(found.weight is not Weight.NO for found in one.findings)
        for result in one.stages:
            asked = [probe for step in result.steps for probe in step.probes]
            assert any(probe.outcome is Outcome.PASSED for probe in asked)
            told = {found.what for found in result.findings}
            bad = (Outcome.FAILED, Outcome.ERROR)
            assert all(probe.probe in told for probe in asked if probe.outcome in bad)
            if any(probe.outcome is Outcome.BLOCKED for probe in asked):
                assert told & {probe.probe for probe in asked if probe.outcome in bad}
    if verdict_of(one) is Verdict.READY:
        assert not one.findings
        assert set(one.wanted) == set(Stage)


@given(trials)
def test_not_ready_is_said_when_and_only_when_the_candidate_is_to_blame(one: Trial) -> None:
    blamed = any(
        found.weight is Weight.NO and found.blame in (Blame.MIDDLEWARE, Blame.CONFIGURATION) for found in one.findings
    )
    assert (verdict_of(one) is Verdict.NOT_READY) == blamed == bool(against(one))
    assert len(against(one)) + len(in_the_way(one)) == sum(found.weight is Weight.NO for found in one.findings)


@given(trials, findings)
def test_one_finding_more_never_betters_the_verdict(one: Trial, more: Finding) -> None:
    """Of the same probe a finding may explain what was unexplained; any other one cannot help."""
    if not one.stages or more.what != "ce":
        return
    worse = replace(one, stages=(*one.stages[:-1], replace(one.stages[-1], findings=(*one.stages[-1].findings, more))))
    order = [Verdict.READY, Verdict.REMARKS, Verdict.NONE, Verdict.NOT_READY]
    assert order.index(verdict_of(worse)) >= order.index(verdict_of(one))


@given(trials)
def test_the_verdict_does_not_hang_on_one_that_is_there(one: Trial) -> None:
    assert verdict_of(one) is verdict_of(replace(one, verdict=None))


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.READY, ExitCode.OK),
        (Verdict.REMARKS, ExitCode.OK),
        (Verdict.NOT_READY, ExitCode.SAID_NO),
        (Verdict.NONE, ExitCode.INFRASTRUCTURE),
        (None, ExitCode.INFRASTRUCTURE),
    ],
)
def test_exit_code(verdict: Verdict | None, code: ExitCode) -> None:
    assert exit_code(replace(trial(), verdict=verdict)) is code


def test_the_samples_are_what_they_say() -> None:
    for one in (ready(), not_ready()):
        assert verdict_of(one) is one.verdict
    assert gaps(not_ready()) == ()
