"""A trial as one page: nothing is loaded, nothing runs, and all that guests have said is escaped."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, Template

from gridvisor.core.printable import printable
from gridvisor.core.units import counted
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.report.matrix import matrix_of
from gridvisor.report.measures import is_quick, number, pairs_of, percent
from gridvisor.report.timeline import Look, timeline_of
from gridvisor.report.words import duration, headline, missing, moment, sentence, sums, took
from gridvisor.trial.model import Change, Finding, Stage, Trial, Verdict, Weight
from gridvisor.trial.seal import LOCK, NAMESPACE, SIGNATURE, SIGNER, SIGNERS
from gridvisor.trial.site import trial_name

_WORST_FIRST = (Weight.NO, Weight.KNOWN, Weight.REMARK)
_MARKS = {
    Verdict.READY: "✓",
    Verdict.REMARKS: "✓",
    Verdict.NOT_READY: "✗",
    Verdict.NONE: "?",
    None: "…",
}
_HEADERS = {Verdict.READY: Look.GOOD, Verdict.REMARKS: Look.GOOD, Verdict.NOT_READY: Look.NO}
_CELLS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.ERROR: "!",
    Outcome.BLOCKED: "-",
    Outcome.SKIPPED: "·",
}
_LOOKS = {Look.GOOD: "✓", Look.NO: "✗", Look.BROKE: "!", Look.NOTED: "~"}
_VERIFY = f"ssh-keygen -Y verify -f {SIGNERS} -I {SIGNER} -n {NAMESPACE} -s {SIGNATURE} < {LOCK}"
_LOOK_WORDS = {
    Look.GOOD: "fine",
    Look.NO: "the candidate failed",
    Look.BROKE: "something else failed",
    Look.NOTED: "with a remark, or a failure that is known",
}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A finding as the page has it: `id` is its anchor."""

    id: str
    finding: Finding
    first: str
    rest: str


def render(trial: Trial) -> str:
    """The whole page. Links lead to evidence beside the page."""
    findings = sorted(trial.findings, key=lambda one: _WORST_FIRST.index(one.weight))
    shown = [_shown(f"finding-{index}", one) for index, one in enumerate(findings, 1)]
    anchors = {(one.finding.stage, one.finding.what): one.id for one in reversed(shown)}
    pairs = pairs_of(trial)
    changes = sorted(trial.changes, key=lambda one: -one.worth)

    def anchor(stage: Stage, result: ProbeResult) -> str:
        bad = result.outcome in (Outcome.FAILED, Outcome.ERROR)
        return anchors.get((stage, result.probe), "") if bad else ""

    return _template().render(
        trial=trial,
        mark=_MARKS[trial.verdict],
        verdict=headline(trial),
        look=(_HEADERS.get(trial.verdict, Look.BROKE) if trial.verdict else Look.BROKE).value,
        sentence=sentence(trial),
        sums=sums(trial),
        missing=missing(trial),
        took=took(trial),
        findings=shown,
        by_stage=[(stage, next((one for one in trial.stages if one.stage is stage), None)) for stage in Stage],
        matrix=matrix_of(trial),
        anchor=anchor,
        cells=_CELLS,
        timeline=timeline_of(trial),
        looks=_LOOKS,
        look_words=_LOOK_WORDS,
        pairs=[one for one in pairs if not is_quick(one)],
        quick=[one for one in pairs if is_quick(one)],
        worth_a_look=[one for one in changes if one.worth > 0],
        other_changes=_by_kind([one for one in changes if one.worth <= 0]),
        commands=_commands(trial),
        Weight=Weight,
    )


def _shown(id: str, finding: Finding) -> _Shown:
    first, _, rest = finding.text.strip().partition("\n")
    return _Shown(id, finding, first, rest.strip("\n"))


def _by_kind(changes: list[Change]) -> dict[str, list[Change]]:
    ordered = sorted(changes, key=lambda one: one.kind)  # stable: as they came within a kind
    return {kind: list(group) for kind, group in groupby(ordered, key=lambda one: one.kind)}


def _commands(trial: Trial) -> list[tuple[str, str]]:
    """How to go on: what for, and the command."""
    id, site = shlex.quote(trial.id), shlex.quote(trial.site)
    trials = shlex.quote(trial_name(trial.site, "trial"))
    commands = [
        ("This verdict on a terminal", f"gridvisor report show {id}"),
        ("For a CI server", f"gridvisor report show {id} -o junit > junit.xml"),
        ("All of it, for programs", f"gridvisor report show {id} -o json"),
        ("Whether a release.lock is from here, and as it was", _VERIFY),
        ("Other trials to compare with", f"gridvisor report list {site}"),
        ("The site on trial, where it was kept (verify --keep)", f"gridvisor status {trials}"),
    ]
    if machine := _first_bad_step(trial):
        commands.append(("Log in where it failed first", f"gridvisor ssh --site {trials} {shlex.quote(machine)}"))
    commands.append(("The logs of its machines in one file", f"gridvisor logs {trials}"))
    if bundle := next((path for one in trial.findings for path in one.evidence if path.endswith(".tar.gz")), None):
        commands.append(("Logs of the moment, beside this page", f"tar -tzf {shlex.quote(bundle)}"))
    return commands


def _first_bad_step(trial: Trial) -> str:
    """The machine at whose upgrade something failed first, or ''. Its step is called as it is."""
    machines = {one.machine for one in trial.changes}
    bad = (one.step for one in trial.findings if one.stage is Stage.UPGRADE and one.weight is Weight.NO)
    return next((step for step in bad if step in machines), "")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "duration": duration,
        "moment": moment,
        "number": number,
        "percent": percent,
        "counted": counted,
        "path": lambda path: quote(path),
    }
    return environment.from_string(files("gridvisor.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
