"""The verdict on a candidate, drawn from what its trial came across. Where something is not known, it is no 'ready'."""

from __future__ import annotations

from gridvisor.core.errors import ExitCode
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.trial.model import Blame, Finding, Stage, StageResult, Step, Trial, Verdict, Weight

_CANDIDATES = (Blame.MIDDLEWARE, Blame.CONFIGURATION)
_EXIT_CODES = {
    Verdict.READY: ExitCode.OK,
    Verdict.REMARKS: ExitCode.OK,
    Verdict.NOT_READY: ExitCode.SAID_NO,
    Verdict.NONE: ExitCode.INFRASTRUCTURE,
}


def verdict_of(trial: Trial) -> Verdict:
    """May production have it? Draws on stages and findings alone, not on a verdict that the trial has already."""
    if against(trial):
        return Verdict.NOT_READY
    if in_the_way(trial) or gaps(trial):
        return Verdict.NONE
    if trial.findings or left_out(trial):
        return Verdict.REMARKS
    return Verdict.READY


def exit_code(trial: Trial) -> ExitCode:
    """What the shell is told of the trial: 0 for ready, remarks or not; 1 for not ready; 3 when there is no verdict."""
    return _EXIT_CODES[trial.verdict or Verdict.NONE]


def against(trial: Trial) -> tuple[Finding, ...]:
    """The findings for which production must not have the candidate."""
    return tuple(one for one in trial.findings if one.weight is Weight.NO and one.blame in _CANDIDATES)


def in_the_way(trial: Trial) -> tuple[Finding, ...]:
    """The findings for which nothing can be said of the candidate: something else is at fault."""
    return tuple(one for one in trial.findings if one.weight is Weight.NO and one.blame not in _CANDIDATES)


def left_out(trial: Trial) -> tuple[Stage, ...]:
    """The stages that nobody asked for."""
    return tuple(stage for stage in Stage if stage not in trial.wanted)


def gaps(trial: Trial) -> tuple[str, ...]:
    """What was asked for and is not known, a sentence each; with any of them there is no 'ready'."""
    done = {result.stage for result in trial.stages}
    missing = [f"The stage '{stage}' did not run." for stage in trial.wanted if stage not in done]
    if not {Stage.FRESH, Stage.UPGRADE} & set(trial.wanted):
        missing.append("The candidate was not tried: neither 'fresh' nor 'upgrade' was asked for.")
    return (*missing, *(gap for result in trial.stages for gap in _gaps_of(result)))


def _gaps_of(result: StageResult) -> list[str]:
    probes = [(step, one) for step in result.steps for one in step.probes]
    # A stage without a probe that passed proves nothing; nor does one with a bad probe that no finding tells of.
    if not any(one.outcome is Outcome.PASSED for _, one in probes):
        return [f"In the stage '{result.stage}' no probe passed."]
    unexplained = [
        f"In the stage '{result.stage}', step '{step.name}', '{one.probe}' did not pass, and nothing says why."
        for step, one in probes
        if one.outcome in (Outcome.FAILED, Outcome.ERROR) and not _is_explained(result, step, one)
    ]
    unasked = [
        f"In the stage '{result.stage}', step '{step.name}', '{one.probe}' was not asked: {one.why}."
        for step, one in probes
        if one.outcome is Outcome.BLOCKED and not _may_be_unasked(result, step)
    ]
    return unexplained + unasked


def _is_explained(result: StageResult, step: Step, probe: ProbeResult) -> bool:
    return any(_explains(finding, step, probe) for finding in result.findings)


def _may_be_unasked(result: StageResult, step: Step) -> bool:
    """Whether a probe that another one blocked in that step says nothing new: the other's failure is a no, or but a
    remark in this step."""
    failed = {one.probe for one in step.probes if one.outcome is Outcome.FAILED}
    return any(
        finding.weight is Weight.NO
        or (finding.weight is Weight.REMARK and finding.step == step.name and finding.what in failed)
        for finding in result.findings
    )


def _explains(finding: Finding, step: Step, result: ProbeResult) -> bool:
    """Whether the finding tells of that result. A remark does so for its own step only, and only a no is known."""
    if finding.what != result.probe:
        return False
    if finding.weight is Weight.REMARK:
        return finding.step == step.name
    return finding.weight is Weight.NO or result.outcome is Outcome.FAILED
