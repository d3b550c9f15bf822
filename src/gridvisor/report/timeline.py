"""What ran when: bars on a common scale, for the steps of a trial and for the jobs that went on beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gridvisor.probe.outcome import Outcome
from gridvisor.trial.model import Blame, Stage, StageResult, Step, Trial, Weight

WIDTH = 1000.0  # of the scale; pages stretch it as they like
_TICKS_AT_MOST = 9
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


class Look(StrEnum):
    """How a bar is to be seen."""

    GOOD = "good"
    NO = "no"
    BROKE = "broke"  # of what is not the candidate's fault
    NOTED = "noted"  # there is a remark, or a failure that is known


@dataclass(frozen=True, slots=True)
class Bar:
    """From `x` on, `width` long, both on the scale from 0 to WIDTH."""

    name: str
    x: float
    width: float
    seconds: float
    look: Look
    text: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bars of steps by stage; those of jobs in lanes, in which none overlaps the next; `ticks` are (x, seconds)."""

    stages: tuple[tuple[Stage, tuple[Bar, ...]], ...]
    lanes: tuple[tuple[Bar, ...], ...]
    ticks: tuple[tuple[float, float], ...]


def timeline_of(trial: Trial) -> Timeline:
    """The timeline, from when the trial began to the last thing that ended."""
    spans = [(step.began_s, step.seconds) for result in trial.stages for step in result.steps]
    spans += [(job.began_s, job.seconds) for job in trial.jobs]
    begin_s = min([trial.began_s, *(began_s for began_s, _ in spans)])
    whole_s = max([1.0, *(began_s + seconds - begin_s for began_s, seconds in spans)])

    def bar(name: str, began_s: float, seconds: float, look: Look, text: str) -> Bar:
        scale = WIDTH / whole_s
        return Bar(name, (began_s - begin_s) * scale, max(0.0, seconds) * scale, seconds, look, text)

    stages = tuple(
        (result.stage, tuple(bar(s.name, s.began_s, s.seconds, look_of(result, s), s.note) for s in result.steps))
        for result in trial.stages
    )
    bars = [bar(job.name, job.began_s, job.seconds, Look.NO if job.text else Look.GOOD, job.text) for job in trial.jobs]
    return Timeline(stages, _lanes(bars), _ticks(whole_s))


def look_of(result: StageResult, step: Step) -> Look:
    """How a step of the stage went: the worst of its findings, and of the probes that failed in it."""
    failed = {one.probe for one in step.probes if one.outcome in (Outcome.FAILED, Outcome.ERROR)}
    findings = [one for one in result.findings if one.step == step.name or one.what in failed]
    no = {one.blame for one in findings if one.weight is Weight.NO}
    if no & {Blame.MIDDLEWARE, Blame.CONFIGURATION}:
        return Look.NO
    if no:
        return Look.BROKE
    return Look.NOTED if findings or failed else Look.GOOD


def _lanes(bars: Sequence[Bar]) -> tuple[tuple[Bar, ...], ...]:
    lanes: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda one: one.x):
        free = next((lane for lane in lanes if lane[-1].x + lane[-1].width <= bar.x), None)
        if free is None:
            lanes.append(free := [])
        free.append(bar)
    return tuple(map(tuple, lanes))


def _ticks(whole_s: float) -> tuple[tuple[float, float], ...]:
    every_s = next((size for size in _TICKS_S if whole_s / size <= _TICKS_AT_MOST), whole_s / _TICKS_AT_MOST)
    return tuple((number * every_s / whole_s * WIDTH, number * every_s) for number in range(int(whole_s / every_s) + 1))
