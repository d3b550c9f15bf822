"""What a trial is, as plain data: the story fills it in, the verdict is drawn from it, reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gridvisor.probe.outcome import ProbeResult


class Stage(StrEnum):
    """The parts of a trial, in their order."""

    SELF_CHECK = "self-check"
    FRESH = "fresh"
    UPGRADE = "upgrade"
    ROLLBACK = "rollback"


class Blame(StrEnum):
    """Whose fault a finding is."""

    MIDDLEWARE = "middleware"
    CONFIGURATION = "configuration"
    INFRASTRUCTURE = "infrastructure"
    MIRROR = "package mirror"


class Weight(StrEnum):
    """What a finding does to the verdict."""

    NO = "no"  # production must not have it; of infrastructure or mirror: nothing can be said
    REMARK = "remark"
    KNOWN = "known"  # it would be a no, were it not among the known failures


class Verdict(StrEnum):
    """May production have the candidate?"""

    READY = "ready"
    REMARKS = "ready with remarks"
    NOT_READY = "not ready"
    NONE = "no verdict"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the trial came across. `what` names it (a probe, a package, a measure), `text` says it.

    `step` is the name of the step in which it was seen first; `evidence` are paths below the trial's folder.
    """

    blame: Blame
    weight: Weight
    stage: Stage
    step: str
    what: str
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One act of a stage, such as the upgrade of a machine, and what the probes said after it.

    `name` is unique in its stage; `began_s` is in seconds since the epoch.
    """

    name: str
    began_s: float
    seconds: float
    probes: tuple[ProbeResult, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class StageResult:
    """A stage that ran to its end, which may be a bad one."""

    stage: Stage
    began_s: float
    seconds: float
    steps: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """How long or how much something was, each time that it was measured; `unit` is 's', 'MiB' or 'MiB/s'."""

    what: str
    unit: str
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What is other with the candidate than before. `kind` is 'package', 'file', 'unit', 'port', 'user', 'size' or so.

    `before` and `after` are empty for what was not there. The greater `worth`, the sooner it is worth a look.
    """

    machine: str
    kind: str
    what: str
    before: str
    after: str
    worth: int = 0


@dataclass(frozen=True, slots=True)
class Guilty:
    """The smallest set of packages or role files with which the probe fails; `sure` is from 0 to 1.

    `runs` tells of each try: what was upgraded, and what came of it. `also` are findings that do not come about without
    them either.
    """

    probe: str
    suspects: tuple[str, ...]
    sure: float
    runs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadJob:
    """A job that went through the site while it was upgraded; `began_s` in seconds since the epoch.

    `text` says what went wrong with it; nothing did when it is empty.
    """

    name: str
    began_s: float
    seconds: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial of `candidate` on `site`, as far as it has come; times are in seconds since the epoch.

    `wanted` are the stages that were asked for, `before` and `after` the measures of baseline and candidate.
    `lock` gives, by role, the exact versions of the packages on trial; '' means that the package goes away. `under_way`
    is what the stage that runs, or was broken off, has come to.
    """

    id: str
    site: str
    candidate: str
    summary: str
    began_s: float
    wanted: tuple[Stage, ...] = tuple(Stage)
    ended_s: float | None = None
    stages: tuple[StageResult, ...] = ()
    changes: tuple[Change, ...] = ()
    before: tuple[Measure, ...] = ()
    after: tuple[Measure, ...] = ()
    jobs: tuple[LoadJob, ...] = ()
    guilty: tuple[Guilty, ...] = ()
    verdict: Verdict | None = None
    lock: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    under_way: StageResult | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that was found, in the order of the stages."""
        return tuple(finding for stage in self.stages for finding in stage.findings)
