"""Known failures: an excuse for what a probe said, for a time, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from gridvisor.core.errors import InputError, Refused
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.trial.known import Known, apply_known, parse_known, read_known, unused_notes
from gridvisor.trial.model import Blame, Finding, Stage, StageResult, Step, Trial, Weight

TODAY = date(2026, 11, 23)
LIST = b"""\
# What we live with.
- probe: slurm_has_nodes
  reason: wn2 is being repaired
  until: 2026-11-23
- {probe: "job_*", reason: "a quota, #12", until: "2027-01-01"}
"""


def known(probe: str = "a", until: date = TODAY) -> Known:
    return Known(probe=probe, reason="why", until=until)


def finding(what: str = "a[ce]", weight: Weight = Weight.NO, blame: Blame = Blame.MIDDLEWARE) -> Finding:
    return Finding(blame, weight, Stage.UPGRADE, "ce", what, "It is.\nIt is not.", ("evidence/a",))


def stage(*findings: Finding, outcome: Outcome = Outcome.FAILED) -> StageResult:
    results = tuple(ProbeResult("ce", one.what, outcome, 0.1) for one in findings)
    return StageResult(Stage.UPGRADE, 0.0, 1.0, (Step("ce", 0.0, 1.0, results),), findings)


def trial(result: StageResult) -> Trial:
    return Trial("id", "s", "c", "", 0.0, stages=(result,))


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "known.yaml").write_bytes(LIST)
    assert read_known(tmp_path / "known.yaml") == (
        Known(probe="slurm_has_nodes", reason="wn2 is being repaired", until=date(2026, 11, 23)),
        Known(probe="job_*", reason="a quota, #12", until=date(2027, 1, 1)),
    )
    with pytest.raises(Refused, match=r"none\.yaml"):
        read_known(tmp_path / "none.yaml")


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"[]\n"])
def test_a_file_may_hold_none(data: bytes) -> None:
    assert parse_known(data, "k.yaml") == ()


@pytest.mark.parametrize(
    ("data", "place", "says"),
    [
        (b"- probe: a\n  reason: b\n", "k.yaml:1:3", "'until' is missing"),
        (b"- {probe: a, reason: b, until: soon}\n", "k.yaml:1:32", "is not a date such as '2026-12-31'"),
        (b"- {probe: a, reason: b, until: 20261231}\n", "k.yaml:1:32", "is not a date"),
        (b"- {probe: a, reason: b, until: 2026-02-30}\n", "k.yaml:1:32", "is not a date"),
        (b"- {probe: a, reason: b, until: 2026-12-31T10:00:00}\n", "k.yaml:1:32", "is not a date"),
        (b"- {probe: '', reason: b, until: 2026-12-31}\n", "k.yaml:1:11", "'probe' is empty"),
        (b"- {probe: a, reason: ' ', until: 2026-12-31}\n", "k.yaml:1:22", "'reason' is empty"),
        (b"- {probe: yes, reason: b, until: 2026-12-31}\n", "k.yaml:1:11", "put it in quotes"),
        (b"\n- probe: a\n  reson: b\n  until: 2026-12-31\n", "k.yaml:3:3", "did you mean 'reason'?"),
        (b"probe: a\n", "k.yaml:1:1", "begin each with '- '"),
        (b"- a\n", "k.yaml:1:3", "a mapping is wanted"),
        (b"- {probe: a\n", "k.yaml:2:1", "not YAML"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(data: bytes, place: str, says: str) -> None:
    with pytest.raises(InputError) as told:
        parse_known(data, "k.yaml")
    assert f"{place}: " in told.value.message
    assert says in told.value.message


@pytest.mark.parametrize(
    ("pattern", "probe", "fits"),
    [
        ("a", "a", True),
        ("a", "a[wn1]", True),
        ("a[wn1]", "a[wn1]", True),
        ("a[wn1]", "a[wn2]", False),
        ("a[wn1]", "aw", False),
        ("a[*]", "a[wn2]", True),
        ("a[wn?]", "a[wn2]", True),
        ("a*", "abc[wn2]", True),
        ("*[wn1]", "abc[wn1]", True),
        ("a", "ab", False),
        ("A", "a", False),
        ("wn1", "a[wn1]", False),
    ],
)
def test_whom_a_name_means(pattern: str, probe: str, fits: bool) -> None:
    assert known(pattern).matches(probe) is fits


def test_what_is_known_is_a_no_no_longer() -> None:
    other = finding("b")
    result = apply_known([known()], stage(finding(), other), today=TODAY)
    assert result.findings == (
        replace(finding(), weight=Weight.KNOWN, text="Known until 2026-11-23: why\nIt is.\nIt is not."),
        other,
    )
    assert apply_known([known()], result, today=TODAY) == result


@pytest.mark.parametrize("blame", Blame)
def test_whoever_is_to_blame_can_be_excused(blame: Blame) -> None:
    result = apply_known([known()], stage(finding(blame=blame)), today=TODAY)
    assert [one.weight for one in result.findings] == [Weight.KNOWN]


def test_an_expired_excuse_is_none_and_is_told_once() -> None:
    late = date(2026, 11, 24)
    result = apply_known([known("a*")], stage(finding("a[ce]"), finding("ab")), today=late)
    assert [(one.weight, one.what) for one in result.findings] == [
        (Weight.NO, "a[ce]"),
        (Weight.NO, "ab"),
        (Weight.REMARK, "known failure a*"),
    ]
    assert "until 2026-11-23" in result.findings[-1].text
    assert apply_known([known("a*")], result, today=late) == result


def test_an_excuse_that_holds_counts_beside_one_that_has_expired() -> None:
    both = [known(until=date(2026, 1, 1)), known()]
    assert [one.weight for one in apply_known(both, stage(finding()), today=TODAY).findings] == [Weight.KNOWN]


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.FAILED])
def test_only_a_no_of_the_site_is_excused(outcome: Outcome) -> None:
    result = stage(finding(), outcome=outcome)
    assert apply_known([known("*")], result, today=TODAY) == result


def test_a_probe_that_also_broke_is_not_excused() -> None:
    first = stage(finding())
    broke = Step("se", 1.0, 1.0, (ProbeResult("ce", "a[ce]", Outcome.ERROR, 0.1),))
    result = replace(first, steps=(*first.steps, broke))
    assert apply_known([known("*")], result, today=TODAY) == result


def test_a_step_that_failed_is_not_excused() -> None:
    result = replace(stage(), findings=(finding("ce"),))
    assert apply_known([known("*"), known("ce")], result, today=TODAY) == result


def test_remarks_stay_what_they_are() -> None:
    result = stage(finding(weight=Weight.REMARK))
    assert apply_known([known()], result, today=TODAY) == result


def test_what_did_not_come_about_is_told() -> None:
    names = [known("a"), known("gone"), known("old", date(2020, 1, 1))]
    for result in (stage(finding()), apply_known(names, stage(finding()), today=TODAY)):
        notes = unused_notes(names, trial(result))
        assert [note.split("'")[1] for note in notes] == ["gone", "old"]
