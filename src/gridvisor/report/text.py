"""A trial's verdict for the terminal: a few lines, with what stands against the candidate."""

from __future__ import annotations

from collections.abc import Iterator

from gridvisor.core.printable import printable
from gridvisor.core.units import counted
from gridvisor.report.words import duration, headline, missing, moment, sentence, sums, took
from gridvisor.trial.model import Finding, Trial, Weight

_MOST = 12  # findings; the page has all
_MARKS = {Weight.NO: "✗", Weight.KNOWN: "~", Weight.REMARK: "·"}
_ORDER = (Weight.NO, Weight.KNOWN, Weight.REMARK)


def render(trial: Trial) -> str:
    """The lines, without the last line's end."""
    return printable("\n".join(_lines(trial)))


def _lines(trial: Trial) -> Iterator[str]:
    when = f"{moment(trial.began_s)}, {took(trial)}" if took(trial) else moment(trial.began_s)
    yield f"{headline(trial).upper()}: {trial.candidate} on {trial.site}  ({when})"
    yield f"  {sentence(trial)}"
    for result in trial.stages:
        yield f"  {result.stage:<10}  {duration(result.seconds):>12}  {_of_stage(result.findings)}"
    for text in missing(trial):
        yield f"  {text}"
    findings = sorted(trial.findings, key=lambda one: _ORDER.index(one.weight))
    if findings:
        yield f"\n{sums(trial)}:"
    where = [f"{one.stage}, {one.step}" for one in findings[:_MOST]]
    width = max(map(len, where), default=0)
    for one, there in zip(findings, where, strict=False):
        yield f"  {_MARKS[one.weight]} {one.weight:<6}  {one.blame:<15}  {there:<{width}}  {one.what}"
        if said := _said(one):
            yield f"      {said}"
    if len(findings) > _MOST:
        yield f"  … and {len(findings) - _MOST} more"
    for guilty in trial.guilty:
        suspects = f"{' + '.join(guilty.suspects)} ({guilty.sure:.0%} sure)" if guilty.suspects else "not found out"
        yield f"\nGuilty of {guilty.probe}: {suspects}"
        if not guilty.suspects:
            yield f"  {guilty.runs[-1]}"
        if guilty.also:
            yield f"  and so of {', '.join(guilty.also)}"
    yield f"\nMore: gridvisor report show {trial.id} -o html"


def _of_stage(findings: tuple[Finding, ...]) -> str:
    no = sum(one.weight is Weight.NO for one in findings)
    return f"no, {counted(no, 'time')}" if no else "with remarks" if findings else "fine"


def _said(finding: Finding) -> str:
    """The line of a finding that says most: what a probe said stands below its title."""
    lines = [line for line in finding.text.splitlines() if line.strip()]
    return " ".join((lines[1] if len(lines) > 1 and finding.weight is Weight.NO else lines[0]).split()) if lines else ""
