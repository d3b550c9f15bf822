"""A trial as JUnit's XML: what a CI server counts is what the verdict says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from test_report_html import hostile

from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.report.junit import render
from gridvisor.trial.model import Blame, Finding, Stage, StageResult, Step, Trial, Verdict, Weight
from gridvisor.trial.verdict import verdict_of
from sample_trial import not_ready, ready


def read(trial: Trial) -> ET.Element:
    return ET.fromstring(render(trial).encode())


def kinds(root: ET.Element) -> Counter[str]:
    """How many test cases have which element below them."""
    return Counter(case[0].tag if len(case) else "passed" for case in root.iter("testcase"))


def one_probe(outcome: Outcome, weight: Weight | None, blame: Blame = Blame.MIDDLEWARE, *, step: str = "ce") -> Trial:
    probe = ProbeResult("ce", "a[ce]", outcome, 0.25, "It is.", "It is not.\nmore")
    findings = (Finding(blame, weight, Stage.UPGRADE, step, "a[ce]", "Known until then: why\nmore"),) if weight else ()
    passed = ProbeResult("ce", "b", Outcome.PASSED, 0.1)
    result = StageResult(Stage.UPGRADE, 0.0, 2.0, (Step("ce", 0.0, 1.0, (probe, passed)),), findings)
    return Trial("id", "s", "c", "", 0.0, (Stage.UPGRADE,), stages=(result,))


def test_there_is_a_suite_for_each_stage_with_true_sums() -> None:
    root = read(not_ready())
    assert [suite.get("name") for suite in root] == ["self-check", "fresh", "upgrade", "rollback"]
    for element in (root, *root):
        found = kinds(element)
        assert element.get("tests") == str(sum(found.values()))
        assert element.get("failures") == str(found["failure"])
        assert element.get("errors") == str(found["error"])
        assert element.get("skipped") == str(found["skipped"])
    assert (root[1].get("time"), root[1].get("timestamp")) == ("263.700", "2026-11-23T16:47:24+00:00")


def test_all_probes_after_all_steps_are_there_and_each_other_finding() -> None:
    root = read(not_ready())
    places = Counter((case.get("classname"), case.get("name")) for case in root.iter("testcase"))
    asked = [
        (f"{stage.stage}.{step.name}", probe.probe)
        for stage in not_ready().stages
        for step in stage.steps
        for probe in step.probes
    ]
    others = [("upgrade.load", "job 17 of the load"), ("upgrade.facts", "submit of a job")]
    assert places == Counter([*asked, *others])


@pytest.mark.parametrize(
    ("outcome", "weight", "blame", "kind"),
    [
        (Outcome.PASSED, None, Blame.MIDDLEWARE, None),
        (Outcome.FAILED, Weight.NO, Blame.MIDDLEWARE, "failure"),
        (Outcome.FAILED, Weight.NO, Blame.CONFIGURATION, "failure"),
        (Outcome.FAILED, Weight.NO, Blame.INFRASTRUCTURE, "error"),
        (Outcome.FAILED, Weight.NO, Blame.MIRROR, "error"),
        (Outcome.FAILED, Weight.KNOWN, Blame.MIDDLEWARE, "skipped"),
        (Outcome.FAILED, Weight.REMARK, Blame.MIDDLEWARE, "skipped"),
        (Outcome.ERROR, Weight.NO, Blame.INFRASTRUCTURE, "error"),
        (Outcome.BLOCKED, None, Blame.MIDDLEWARE, "skipped"),
        (Outcome.SKIPPED, None, Blame.MIDDLEWARE, "skipped"),
    ],
)
def test_a_probe_is_what_its_finding_says(
    outcome: Outcome, weight: Weight | None, blame: Blame, kind: str | None
) -> None:
    case = read(one_probe(outcome, weight, blame))[0][0]
    assert (case.get("classname"), case.get("name"), case.get("time")) == ("upgrade.ce", "a[ce]", "0.250")
    assert [element.tag for element in case] == ([kind] if kind else [])


def test_what_is_known_gives_its_reason_and_what_failed_its_why() -> None:
    known = read(one_probe(Outcome.FAILED, Weight.KNOWN))[0][0][0]
    assert known.get("message") == "Known until then: why"
    failed = read(one_probe(Outcome.FAILED, Weight.NO))[0][0][0]
    assert (failed.get("message"), failed.text) == ("It is not.", "It is.\nIt is not.\nmore")
    remark = read(one_probe(Outcome.FAILED, Weight.REMARK))[0][0][0]
    assert remark.get("message") == "remark: Known until then: why"


@pytest.mark.parametrize(
    "trial",
    [
        ready(),
        not_ready(),
        Trial("id", "s", "c", "", 0.0),
        replace(ready(), stages=ready().stages[:2]),
        one_probe(Outcome.FAILED, None),
        one_probe(Outcome.ERROR, None),
        one_probe(Outcome.FAILED, Weight.REMARK, step="before"),
        *(one_probe(outcome, weight, blame) for outcome in Outcome for weight in Weight for blame in Blame),
    ],
)
def test_a_ci_server_is_green_when_and_only_when_the_candidate_is_ready(trial: Trial) -> None:
    found = kinds(read(trial))
    green = not found["failure"] and not found["error"]
    assert green == (verdict_of(trial) in (Verdict.READY, Verdict.REMARKS))


def test_hostile_words_are_but_words() -> None:
    text = render(hostile())
    root = ET.fromstring(text.encode())
    assert root.find(".//script") is None
    assert any("<script>" in str(case.get("name")) for case in root.iter("testcase"))
    assert "\x1b" not in text
