"""Failures that are known: a file names the probes, says why, and until when that is taken for an excuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, StringConstraints, model_validator

from gridvisor.probe.outcome import Outcome
from gridvisor.site.document import parse_document, read_document
from gridvisor.trial.measure import MEASURES
from gridvisor.trial.model import Finding, StageResult, Trial, Weight

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _date(value: object) -> object:
    try:
        if isinstance(value, date):
            return value
        if isinstance(value, str):  # a number would be taken for seconds
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"{value!r} is not a date such as '2026-12-31'")


class Known(BaseModel):
    """A failure that is known. `until` is the last day on which it counts as such.

    `probe` is a probe's name; without brackets it means the probe on every machine. `*` and `?` stand for others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    probe: Annotated[_Text, Field(description="The probe's name, or a pattern with * and ?.")]
    reason: Annotated[_Text, Field(description="Why it fails, and what is done about it.")]
    until: Annotated[date, BeforeValidator(_date), Field(description="The last day on which it is an excuse.")]

    def matches(self, probe: str) -> bool:
        """Whether it speaks of the probe of that name."""
        pattern = self.probe.replace("[", "[[]")  # a machine's name stands in brackets; that is no set of letters
        return any(fnmatchcase(name, pattern) for name in (probe, probe.partition("[")[0]))

    def has_expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.until


class _File(RootModel[list[Known]]):
    @model_validator(mode="before")
    @classmethod
    def _nothing_is_an_empty_list(cls, value: Any) -> Any:
        return [] if value == {} else value  # that is how a file comes that has but comments


def read_known(file: Path) -> tuple[Known, ...]:
    """The known failures of that file. Raises InputError with every problem at its place, Refused without a file."""
    return tuple(read_document(file, _File).value.root)


def parse_known(data: bytes, name: str) -> tuple[Known, ...]:
    """The known failures of a file called `name` with those bytes; see `read_known`."""
    return tuple(parse_document(data, _File, name).value.root)


def apply_known(known: Sequence[Known], result: StageResult, *, today: date) -> StageResult:
    """The stage with its findings weighed anew: what is known, until today at least, is a no no longer.

    Only what a probe has said of the site can be excused, and what has become slower; a step or a probe that broke is
    not: then nothing is known. Where an excuse has expired, the no stays, and a remark says so.
    """
    said_no = {one.probe for step in result.steps for one in step.probes if one.outcome is Outcome.FAILED}
    broke = {one.probe for step in result.steps for one in step.probes if one.outcome is Outcome.ERROR}
    findings: list[Finding] = []
    remarks: list[Finding] = []
    for finding in result.findings:
        is_slower = finding.step == MEASURES and finding.what != MEASURES  # which would be the step that failed itself
        fits = finding.weight is Weight.NO and (finding.what in said_no - broke or is_slower)
        matching = [one for one in known if fits and one.matches(finding.what)]
        if excuse := next((one for one in matching if not one.has_expired(today)), None):
            text = f"Known until {excuse.until}: {excuse.reason}\n{finding.text}"
            finding = replace(finding, weight=Weight.KNOWN, text=text)
        else:
            remarks += [_expired(one, finding) for one in matching]
        findings.append(finding)
    new = {one.what: one for one in remarks if one.what not in {finding.what for finding in findings}}
    return replace(result, findings=(*findings, *new.values()))


def unused_notes(known: Sequence[Known], trial: Trial) -> tuple[str, ...]:
    """A sentence for each known failure that nothing in the trial bears out; `known` may have been applied or not."""
    no = [one.what for one in trial.findings if one.weight is not Weight.REMARK]
    return tuple(
        f"The known failure '{one.probe}' (until {one.until}) did not come about: it may be over."
        for one in known
        if not any(one.matches(what) for what in no)
    )


def _expired(known: Known, finding: Finding) -> Finding:
    text = (
        f"It is no longer an excuse for '{finding.what}': it was one until {known.until}. Reason given: {known.reason}"
    )
    return replace(finding, weight=Weight.REMARK, what=f"known failure {known.probe}", text=text, evidence=())
