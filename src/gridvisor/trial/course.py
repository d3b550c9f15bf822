"""A trial under way: what its stages share, and how what they come across becomes steps and findings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from gridvisor.app.host import Host
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.logs import collect_logs
from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.core.files import write_whole
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.probe.run import run_probes
from gridvisor.release.candidate import Candidate
from gridvisor.release.freeze import freeze
from gridvisor.release.lock import Release, RolePackages, read_release
from gridvisor.release.resolve import MirrorFailed
from gridvisor.run.command import Command
from gridvisor.trial.model import Blame, Finding, Stage, StageResult, Step, Trial, Weight
from gridvisor.trial.site import Model

UP_S = 240.0  # a site of six machines answers after 20 s where nothing else runs
UPGRADE_S = 600.0
BAD = (Outcome.FAILED, Outcome.ERROR)
_UNKNOWN = (*BAD, Outcome.BLOCKED)
_WORST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.PASSED)  # what a second answer may be
_RELEASE = "release"
_ASK_S = 60.0
_AGAIN_AFTER_S = 10.0  # what settles now and then, such as an information system that reads its sources again


class StageEnded(Exception):
    """The stage cannot go on; why is among its findings already."""


@dataclass
class Course:
    """What the stages of a trial share. `keep` is called with the trial whenever there is more of it; `upgrade_s` is
    what apt may take on one machine."""

    host: Host
    model: Model
    candidate: Candidate
    folder: Path
    trial: Trial
    keep: Callable[[Trial], None]
    release: Release | None = None
    pristine: bool = False  # the trial's site is as its snapshot
    probes: Sequence[Path] = ()
    upgrade_s: float = UPGRADE_S
    _noting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if (noted := self.folder / _RELEASE).exists():  # by an earlier run of this trial
            self.release = read_release(Path(noted.read_text()))

    @property
    def candidates_fault(self) -> Blame:
        """Whose fault it is when something is wrong with the candidate and not with the baseline."""
        return Blame.MIDDLEWARE if self.candidate.packages else Blame.CONFIGURATION

    def freeze(self, deployment: Deployment) -> None:
        """Have the candidate's packages, for machines as this site has now; once a trial.

        Raises MirrorFailed, and GridvisorError for a candidate that changes no machine.
        """
        if not self.candidate.packages:
            return
        if self.release is None:
            one_of = {machine.role.name: machine for machine in reversed(deployment.machines)}
            cat = Command.of("cat", "/var/lib/dpkg/status")
            self.release = freeze(
                self.candidate,
                {role: deployment.ssh(machine).run(cat, timeout_s=_ASK_S).stdout for role, machine in one_of.items()},
                suite=deployment.site.release,
                places=self.host.places,
                mirror=mirror_of_this_machine(self.host.target, uri=self.host.mirror_uri),
                target=self.host.target,
            )
            write_whole(self.folder / _RELEASE, str(self.release.folder))
        has_packages = any(role.install or role.refused for role in self.release.roles.values())
        if not has_packages and not self.candidate.changed_roles:
            raise GridvisorError(
                f"The candidate '{self.candidate.name}' changes no machine of '{self.model.name}': they have none of "
                "its packages, or have them in these versions already.",
                hint=f"what it names is in {self.candidate.file}",
            )
        self.note(lock={role: _versions(packages) for role, packages in self.release.roles.items()})

    @property
    def untried(self) -> tuple[str, ...]:
        """What the candidate names and no machine of the site has; nothing before `freeze`."""
        if self.release is None:
            return ()
        asked = {name for role in self.release.roles.values() for name in role.asked}
        words = (word for source in self.candidate.packages for word in (*source.match, *source.versions))
        return tuple(dict.fromkeys(word for word in words if not any(fnmatchcase(name, word) for name in asked)))

    def keep_file(self, name: str, text: str) -> None:
        """Keep a file in the trial's folder."""
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        write_whole(file, text)

    def note(self, **facts: object) -> None:
        """Keep these facts of the trial."""
        with self._noting:  # packages are frozen beside the probes
            self.trial = replace(self.trial, **facts)  # type: ignore[arg-type]
            self.keep(self.trial)

    @contextmanager
    def stage(self, stage: Stage, *, fault: Blame) -> Iterator[StageRun]:
        """The frame of a stage: what it finds is kept in the end, also when it ended early."""
        left = self.trial.under_way
        run = StageRun(self, stage, fault, left=left if left is not None and left.stage is stage else None)
        with suppress(StageEnded):
            yield run
        self.note(stages=(*self.trial.stages, run.result), under_way=None)


@dataclass
class StageRun:
    """A stage under way. `fault` is the blame when the site says no in it; that of our own tools is infrastructure.
    `left` is how far it had come when it was broken off."""

    course: Course
    stage: Stage
    fault: Blame
    left: StageResult | None = None
    steps: list[Step] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _began_s: float = field(default_factory=time.time)
    _clock_s: float = field(default_factory=time.monotonic)
    _found: set[tuple[str, Weight, Blame]] = field(default_factory=set)

    @property
    def result(self) -> StageResult:
        """What it has come to so far."""
        took_s = time.monotonic() - self._clock_s
        return StageResult(self.stage, self._began_s, took_s, tuple(self.steps), tuple(self.findings))

    def had(self, name: str) -> bool:
        """Whether the step had ended when the stage was broken off; it then counts, with what was found in it."""
        left = self.left
        if left is None or not (steps := [one for one in left.steps if one.name == name]):
            return False
        self.steps += steps
        self.findings += [one for one in left.findings if one.step == name]
        return True

    @contextmanager
    def step(
        self,
        name: str,
        deployment: Deployment | None = None,
        *,
        fault: Blame | None = None,
        no_is: Weight = Weight.NO,
    ) -> Iterator[StepRun]:
        """One act. What it raises becomes a finding, with the site's logs, and ends the stage.

        `fault` is the blame for a no of the site, if not that of the stage; `no_is` is how it weighs. When it is but a
        remark, the stage goes on.
        """
        run = StepRun(self, name, fault or self.fault, no_is)
        began_s, clock_s = time.time(), time.monotonic()
        problem: GridvisorError | ExceptionGroup[Exception] | None = None
        try:
            with self.course.host.bus.step(name, where=self.stage.value):
                yield run
        except GridvisorError as error:
            problem = error
        except ExceptionGroup as group:
            if not all(isinstance(one, GridvisorError) for one in leaves(group)):
                raise
            problem = group
        self.steps.append(Step(name, began_s, time.monotonic() - clock_s, run.probes, run.said))
        goes_on = problem is None or self._find_problem(run, problem, deployment)
        self.course.note(under_way=self.result)
        if not goes_on:
            raise StageEnded

    def find(
        self,
        step: str,
        what: str,
        text: str,
        *,
        blame: Blame | None = None,
        weight: Weight = Weight.NO,
        evidence: tuple[str, ...] = (),
    ) -> None:
        """Keep a finding; of several alike in name, weight and blame, the first of the stage is kept."""
        blame = blame or self.fault
        if (what, weight, blame) not in self._found:
            self._found.add((what, weight, blame))
            finding = Finding(blame, weight, self.stage, step, what, text, evidence)
            self.findings.append(finding)
            self.course.host.bus.warn(f"{what}: {text.splitlines()[0] if text else ''}", where=self.stage.value)

    def find_untried(self, step: str) -> None:
        """Keep it once a trial, as a remark, when some of the candidate is nowhere on the site."""
        told = {one.what for one in self.course.trial.findings}
        for word in self.course.untried:
            if (what := f"not tried: {word}") not in told:
                text = f"No machine of the site has a package '{word}' that the candidate would change."
                self.find(step, what, text, blame=Blame.MIDDLEWARE, weight=Weight.REMARK)

    def probe(self, step: StepRun, deployment: Deployment, select: str | None) -> tuple[ProbeResult, ...]:
        """Ask the site. A probe that does not pass is asked once more after a while, and then is a finding."""
        found = ask(self.course, deployment, select)
        evidence: tuple[str, ...] = ()
        for one in found:
            if one.outcome in BAD:
                evidence = evidence or self.evidence(step.name, deployment)
                said_no = one.outcome is Outcome.FAILED
                self.find(
                    step.name,
                    one.probe,
                    f"{one.title}\n{one.why}",
                    blame=step.fault if said_no else Blame.INFRASTRUCTURE,
                    weight=step.no_is if said_no else Weight.NO,
                    evidence=evidence,
                )
        return found

    def evidence(self, step: str, deployment: Deployment) -> tuple[str, ...]:
        """The bundle of the site's logs as of now: its path below the trial's folder, or none when there is none."""
        bundle = self.course.folder / "evidence" / f"{self.stage.value}-{step.replace(' ', '-')}.tar.gz"
        bundle.parent.mkdir(exist_ok=True)
        try:
            collect_logs(deployment, bundle)
        except (GridvisorError, OSError) as error:
            self.course.host.bus.warn(f"no logs: {error}", where=step)
            return ()
        return (str(bundle.relative_to(self.course.folder)),)

    def _find_problem(
        self, step: StepRun, problem: GridvisorError | ExceptionGroup[Exception], deployment: Deployment | None
    ) -> bool:
        """Keep what was raised; whether the stage can go on."""
        evidence = self.evidence(step.name, deployment) if deployment is not None else ()
        goes_on = True
        for error in leaves(problem):
            said_no = isinstance(error, SystemSaidNo)
            weight = step.no_is if said_no else Weight.NO
            self.find(step.name, step.name, str(error), blame=blame_of(error, step), weight=weight, evidence=evidence)
            goes_on = goes_on and weight is Weight.REMARK
        return goes_on


@dataclass
class StepRun:
    """A step under way: it may leave what probes said, and a note."""

    stage: StageRun
    name: str
    fault: Blame
    no_is: Weight
    probes: tuple[ProbeResult, ...] = ()
    said: str = ""

    def say(self, text: str) -> None:
        """Leave a note with the step."""
        self.said = f"{self.said}; {text}" if self.said else text

    def probe(self, deployment: Deployment, select: str | None = None) -> None:
        """Ask the site, and keep what came of it with this step."""
        self.probes = self.stage.probe(self, deployment, select)


def blame_of(error: Exception, step: StepRun) -> Blame:
    """Whose fault an error is: the site's under test, the package mirror's, or else that of what is around it."""
    if isinstance(error, SystemSaidNo):
        return step.fault
    return Blame.MIRROR if isinstance(error, MirrorFailed) else Blame.INFRASTRUCTURE


def _versions(packages: RolePackages) -> dict[str, str]:
    """Versions by package; '' for one that goes."""
    return {one.name: one.version for one in packages.install} | dict.fromkeys(packages.remove, "")


def leaves(error: Exception) -> Iterator[Exception]:
    """The errors of a group, however deep; an error that is none, itself."""
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def ask(course: Course, deployment: Deployment, select: str | None, *, again: bool = True) -> tuple[ProbeResult, ...]:
    """What the probes say that the expression `select` picks; those that do not pass, or were not begun since another
    one did not, are asked `again`, once, later."""
    name = deployment.site.site
    found = run_probes(name, _silent, folders=course.probes, select=select)
    unknown = [one for one in found if one.outcome in _UNKNOWN]
    if not unknown or not again:
        return found
    time.sleep(_AGAIN_AFTER_S)
    second = run_probes(name, _silent, folders=course.probes, select=selecting(unknown))
    return tuple(_second_answer(one, second) if one.outcome in _UNKNOWN else one for one in found)


def _second_answer(first: ProbeResult, second: Sequence[ProbeResult]) -> ProbeResult:
    """What the probe said when it was asked again: the worst, where several folders have probes of that name. As it was
    when it was not begun then: that takes nothing back."""
    same = [one for one in second if (one.suite, one.probe) == (first.suite, first.probe)]
    answers = [one for outcome in _WORST_FIRST for one in same if one.outcome is outcome]
    return answers[0] if answers else first


def selecting(results: Sequence[ProbeResult]) -> str:
    """An expression of pytest's -k for those probes; it knows no brackets, so for those of all machines."""
    return " or ".join(sorted({one.probe.partition("[")[0] for one in results}))


def _silent(_: ProbeResult) -> None:
    """Nobody is told of each probe: the step is."""
