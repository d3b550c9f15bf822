"""What the page draws: bars on one scale, jobs in lanes, dots that stay within their chart."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridvisor.core.printable import printable
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.report.matrix import matrix_of
from gridvisor.report.measures import number, pairs_of, percent
from gridvisor.report.timeline import WIDTH, Look, timeline_of
from gridvisor.report.words import duration
from gridvisor.trial.model import Blame, Finding, LoadJob, Measure, Stage, StageResult, Step, Trial, Weight
from sample_trial import not_ready, ready

EMPTY = Trial("id", "s", "c", "", 1000.0)
times = st.floats(0, 1e9)


def trial_of(*findings: Finding, probes: tuple[ProbeResult, ...] = ()) -> Trial:
    step = Step("ce", 1000.0, 10.0, probes)
    return replace(EMPTY, stages=(StageResult(Stage.UPGRADE, 1000.0, 10.0, (step,), findings),))


def finding(blame: Blame, weight: Weight, *, step: str = "ce", what: str = "x") -> Finding:
    return Finding(blame, weight, Stage.UPGRADE, step, what, "")


def test_bars_are_where_their_time_is() -> None:
    steps = (Step("a", 1000.0, 25.0), Step("b", 1050.0, 50.0, note="said"))
    trial = replace(EMPTY, stages=(StageResult(Stage.FRESH, 1000.0, 100.0, steps),))
    ((stage, (one, other)),) = timeline_of(trial).stages
    assert stage is Stage.FRESH
    assert (one.name, one.x, one.width) == ("a", 0.0, WIDTH / 4)
    assert (other.x, other.width, other.seconds, other.text) == (WIDTH / 2, WIDTH / 2, 50.0, "said")


@given(st.lists(st.tuples(times, times), max_size=8), st.lists(st.tuples(times, times), max_size=8))
def test_all_is_on_the_scale_and_no_job_hides_another(
    steps: list[tuple[float, float]], work: list[tuple[float, float]]
) -> None:
    made = tuple(Step(f"s{index}", began_s, seconds) for index, (began_s, seconds) in enumerate(steps))
    trial = replace(EMPTY, stages=(StageResult(Stage.FRESH, 0.0, 0.0, made),))
    jobs = tuple(LoadJob(f"j{index}", *one) for index, one in enumerate(work))
    timeline = timeline_of(replace(trial, jobs=jobs))
    bars = [bar for _, stage in timeline.stages for bar in stage] + [bar for lane in timeline.lanes for bar in lane]
    assert len(bars) == len(steps) + len(work)
    assert all(bar.x >= 0 and bar.width >= 0 and bar.x + bar.width <= WIDTH * 1.000001 for bar in bars)
    for lane in timeline.lanes:
        assert all(one.x + one.width <= other.x for one, other in pairwise(lane))
    assert 1 <= len(timeline.ticks) <= 11
    assert all(0 <= x <= WIDTH * 1.000001 for x, _ in timeline.ticks)


@pytest.mark.parametrize(
    ("trial", "look"),
    [
        (trial_of(), Look.GOOD),
        (trial_of(finding(Blame.MIDDLEWARE, Weight.NO)), Look.NO),
        (trial_of(finding(Blame.MIRROR, Weight.NO)), Look.BROKE),
        (trial_of(finding(Blame.MIRROR, Weight.NO), finding(Blame.CONFIGURATION, Weight.NO)), Look.NO),
        (trial_of(finding(Blame.MIDDLEWARE, Weight.KNOWN)), Look.NOTED),
        (trial_of(finding(Blame.MIDDLEWARE, Weight.REMARK)), Look.NOTED),
        (trial_of(finding(Blame.MIDDLEWARE, Weight.NO, step="se")), Look.GOOD),
        (
            trial_of(
                finding(Blame.MIDDLEWARE, Weight.NO, step="se", what="a"),
                probes=(ProbeResult("ce", "a", Outcome.FAILED, 0.1),),
            ),
            Look.NO,
        ),
        (trial_of(probes=(ProbeResult("ce", "a", Outcome.ERROR, 0.1),)), Look.NOTED),
        (trial_of(probes=(ProbeResult("ce", "a", Outcome.SKIPPED, 0.1),)), Look.GOOD),
    ],
)
def test_a_bar_looks_as_its_step_went(trial: Trial, look: Look) -> None:
    assert timeline_of(trial).stages[0][1][0].look is look


def test_a_lost_job_is_seen() -> None:
    lanes = timeline_of(not_ready()).lanes
    assert [bar.name for lane in lanes for bar in lane if bar.look is Look.NO] == ["job 17"]


def test_rows_that_are_not_all_green_come_apart_from_the_others() -> None:
    matrix = matrix_of(not_ready())
    assert len(matrix.bad) == 9
    assert len(matrix.bad) + sum(map(len, matrix.good.values())) == len(matrix.rows)
    assert sum(count for _, count in matrix.stages) == len(matrix.columns) == 11
    assert matrix_of(ready()).bad == ()
    assert matrix_of(EMPTY).rows == ()


def test_the_worst_of_two_results_is_shown() -> None:
    results = [ProbeResult("ce", "a", outcome, 0.1) for outcome in (Outcome.PASSED, Outcome.ERROR, Outcome.PASSED)]
    (row,) = matrix_of(trial_of(probes=tuple(results))).rows
    assert [cell.outcome for cell in row.cells if cell] == [Outcome.ERROR]


@given(st.lists(st.floats(), max_size=5), st.lists(st.floats(), max_size=5))
def test_dots_stay_within_their_chart(before: list[float], after: list[float]) -> None:
    (pair,) = pairs_of(
        replace(EMPTY, before=(Measure("a", "s", tuple(before)),), after=(Measure("a", "s", tuple(after)),))
    )
    assert all(0 <= pair.place(value) <= 1 for value in (*pair.before, *pair.after))
    assert pair.change is None or pair.before


def test_measures_are_paired_by_what_they_measure() -> None:
    pairs = pairs_of(not_ready())
    assert [pair.what for pair in pairs][-2:] == ["memory in use on ce", "start of slurmrestd"]
    assert pairs[0].medians == (0.9, 1.92)
    assert pairs[-1].medians == (None, 0.75)
    assert pairs[-1].change is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.9, "0.900"), (1.921, "1.92"), (14.86, "14.9"), (142.2, "142"), (12345.6, "12346"), (-2.5, "-2.50")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("change", "text"), [(1.13, "+113 %"), (-0.25, "-25 %"), (0.001, "±0 %"), (-0.001, "±0 %"), (0.1, "+10 %")]
)
def test_changes_are_in_percent(change: float, text: str) -> None:
    assert percent(change) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.26, "4.3 s"),
        (59.96, "1 min 0 s"),
        (71.6, "1 min 12 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert printable("a\x1b[2Jb\x00\tc\r\nd\re\x9b\ud800\n") == "a�[2Jb�\tc\nd�e��\n"
