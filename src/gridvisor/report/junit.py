"""A trial as JUnit XML: a suite for each stage, a case for each probe after each step and for every other finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from gridvisor.core.printable import printable
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.trial.model import Blame, Finding, StageResult, Step, Trial, Weight
from gridvisor.trial.verdict import gaps

_OURS = (Blame.INFRASTRUCTURE, Blame.MIRROR)


@dataclass(frozen=True, slots=True)
class _Case:
    """A test case. `kind` is 'failure', 'error', 'skipped', or '' for one that passed."""

    step: str
    name: str
    seconds: float
    kind: str = ""
    message: str = ""
    text: str = ""


def render(trial: Trial) -> str:
    """The XML. A no of the candidate is a failure, one of anything else an error; what is known is skipped."""
    root = ET.Element("testsuites", name=printable(f"{trial.candidate} on {trial.site}"))
    for result in trial.stages:
        cases = list(_cases(result))
        suite = _suite(root, result.stage, cases, result.seconds)
        suite.set("timestamp", datetime.fromtimestamp(result.began_s, UTC).isoformat(timespec="seconds"))
    if unknown := gaps(trial):
        _suite(root, "gaps", [_Case("trial", text, 0.0, "error", text) for text in unknown], 0.0)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _suite(root: ET.Element, name: str, cases: list[_Case], seconds: float) -> ET.Element:
    kinds = [case.kind for case in cases]
    counts = {"failures": kinds.count("failure"), "errors": kinds.count("error"), "skipped": kinds.count("skipped")}
    suite = ET.SubElement(root, "testsuite", name=name, tests=str(len(cases)), time=f"{seconds:.3f}")
    for key, count in counts.items():
        suite.set(key, str(count))
    for case in cases:
        place = printable(f"{name}.{case.step}")
        element = ET.SubElement(
            suite, "testcase", classname=place, name=printable(case.name), time=f"{case.seconds:.3f}"
        )
        if case.kind:
            said = ET.SubElement(element, case.kind, message=printable(case.message))
            said.text = printable(case.text)
    return suite


def _cases(result: StageResult) -> Iterator[_Case]:
    told: set[int] = set()
    for step in result.steps:
        for probe in step.probes:
            finding = _finding_of(result, step, probe)
            if finding is not None:
                told.add(id(finding))
            yield _case_of_probe(step, probe, finding)
    for finding in result.findings:
        if id(finding) not in told:
            kind = _kind(finding)
            yield _Case(finding.step, finding.what, 0.0, kind, _message(finding), finding.text)


def _finding_of(result: StageResult, step: Step, probe: ProbeResult) -> Finding | None:
    """The finding that tells of a probe: that of this step, if there are several."""
    if probe.outcome not in (Outcome.FAILED, Outcome.ERROR):
        return None
    found = [one for one in result.findings if one.what == probe.probe]
    return next((one for one in found if one.step == step.name), found[0] if found else None)


def _case_of_probe(step: Step, probe: ProbeResult, finding: Finding | None) -> _Case:
    first = (probe.why or probe.title).partition("\n")[0]
    kinds = {
        Outcome.PASSED: "",
        Outcome.FAILED: "failure",
        Outcome.ERROR: "error",
        Outcome.BLOCKED: "skipped",
        Outcome.SKIPPED: "skipped",
    }
    kind, message = kinds[probe.outcome], first
    if finding is not None:
        if finding.weight is not Weight.NO or probe.outcome is Outcome.FAILED:
            kind = _kind(finding)
        message = _message(finding) if finding.weight is not Weight.NO else first
    text = f"{probe.title}\n{probe.why}" if kind else ""
    return _Case(step.name, probe.probe, probe.seconds, kind, message, text)


def _kind(finding: Finding) -> str:
    if finding.weight is not Weight.NO:
        return "skipped"
    return "error" if finding.blame in _OURS else "failure"


def _message(finding: Finding) -> str:
    first = finding.text.partition("\n")[0]
    return f"remark: {first}" if finding.weight is Weight.REMARK else first
