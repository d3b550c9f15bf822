"""The guilty package or file: the smallest part of a candidate with which what stands against it is still there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.snapshot import list_snapshots, restore_snapshot, take_snapshot
from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.trial.compare import risks
from gridvisor.trial.course import BAD, Course, ask, leaves
from gridvisor.trial.load import FILES, JOBS, NOT_STORED, REFUSED, Load
from gridvisor.trial.measure import MEASURES, START, at_rest, in_use, slower
from gridvisor.trial.model import Blame, Finding, Guilty, Stage, Trial
from gridvisor.trial.restart import RESTART, restart
from gridvisor.trial.self_check import at_baseline, site_of
from gridvisor.trial.upgrade import ALL_UPGRADED, COMPARED, READY_S, apply_candidate, compared, in_order

T = TypeVar("T")

_AS_UPGRADED = "as-upgraded"
MOST = 2  # findings of which the guilty part is looked for
_REPEATS = 2


def smallest(parts: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """A smallest list of `parts` for which `fails` is so: without any of them it is not. `fails(parts)` must be so.

    This is ddmin (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, IEEE TSE 28, 2002).
    """
    current, pieces = list(parts), 2
    while len(current) >= 2:
        size = -(-len(current) // pieces)
        chunks = [current[at : at + size] for at in range(0, len(current), size)]
        if (smaller := next((chunk for chunk in chunks if fails(chunk)), None)) is not None:
            current, pieces = smaller, 2
            continue
        rests = (_without(current, chunk) for chunk in chunks) if len(chunks) > 2 else ()
        if (rest := next((one for one in rests if fails(one)), None)) is not None:
            current, pieces = rest, max(pieces - 1, 2)
        elif pieces < len(current):
            pieces = min(len(current), pieces * 2)
        else:
            break
    return tuple(current)


def _without(items: Sequence[T], gone: Sequence[T]) -> list[T]:
    return [one for one in items if one not in gone]


@dataclass(frozen=True, slots=True)
class Part:
    """What may be guilty: a package that the candidate names, or one of its files; then `role` says whose."""

    name: str
    role: str = ""

    def __str__(self) -> str:
        return f"{self.role}/{self.name}" if self.role else self.name


def parts_of(course: Course) -> tuple[Part, ...]:
    """All parts of the candidate. What a package needs comes with it and is no part."""
    packages: dict[str, None] = {}
    for role in course.release.roles.values() if course.release else ():
        packages |= dict.fromkeys(role.asked)
    root = course.candidate.roles
    files = [
        Part(str(file.relative_to(folder)), folder.name)
        for folder in (sorted(root.iterdir()) if root else ())
        for file in sorted(folder.rglob("*"))
        if not file.is_dir() or file.is_symlink()
    ]
    return (*(Part(name) for name in packages), *files)


def find_guilty(course: Course, findings: Sequence[Finding], *, keep: bool = False) -> tuple[Guilty, ...]:
    """The guilty parts of the first of those `findings`, which stand against the candidate, that are of the upgrade.

    What does not come about without the guilty part of an earlier finding is that part's too, and is not looked into.
    Each try restores the trial's snapshot; with `keep` the site is then brought back to how the upgrade has left it.
    What cannot be tried gives a Guilty without suspects, which says why.
    """
    left = [one for one in findings if one.stage is Stage.UPGRADE and one.step != "packages"]
    if not (left and keep):
        return _guilty_of(course, left)
    try:
        _keep_as_upgraded(course)
    except (GridvisorError, ExceptionGroup) as error:
        why = f"not looked for, since the site as the upgrade has left it would be lost: {error}"
        return (Guilty(left[0].what, (), 0.0, (why,)),)
    guilty = _guilty_of(course, left)
    _bring_back_as_upgraded(course)
    return guilty


def _keep_as_upgraded(course: Course) -> None:
    """Keep the trial's site as a snapshot; once, should the search be broken off and begin anew."""
    deployment = site_of(course)
    if deployment is not None and all(one.name != _AS_UPGRADED for one in list_snapshots(deployment)):
        take_snapshot(deployment, _AS_UPGRADED)


def _bring_back_as_upgraded(course: Course) -> None:
    """Put the disks back and boot. That not all services answer is what stands against the candidate, maybe."""
    course.pristine = False
    deployment = site_of(course)
    if deployment is None:
        return
    try:
        restore_snapshot(deployment, _AS_UPGRADED, timeout_s=READY_S)
    except (GridvisorError, ExceptionGroup) as error:
        for one in leaves(error):
            course.host.bus.note(f"the site as the upgrade has left it: {one}", where="bisect")


def _guilty_of(course: Course, findings: Sequence[Finding]) -> tuple[Guilty, ...]:
    left = list(findings)
    guilty: list[Guilty] = []
    while left and len(guilty) < MOST:
        search, *others = _Search(course, left[0]), *left[1:]
        found = search.guilty()
        left = search.still_there(others)
        guilty.append(replace(found, also=tuple(one.what for one in others if one not in left)))
    return tuple(guilty)


def blamed(trial: Trial) -> Trial:
    """The trial where what a role file is guilty of is a fault of configuration, and of a package one of middleware."""
    blame = {
        what: Blame.CONFIGURATION if all("/" in suspect for suspect in one.suspects) else Blame.MIDDLEWARE
        for one in trial.guilty
        if one.suspects
        for what in (one.probe, *one.also)
    }

    def named(finding: Finding) -> Finding:
        known = finding.stage is Stage.UPGRADE and finding.what in blame
        return replace(finding, blame=blame[finding.what]) if known else finding

    stages = (replace(result, findings=tuple(map(named, result.findings))) for result in trial.stages)
    return replace(trial, stages=tuple(stages))


@dataclass
class _Search:
    course: Course
    finding: Finding
    runs: list[str] = field(default_factory=list)
    _answers: dict[frozenset[Part], list[bool]] = field(default_factory=dict)
    _suspects: Sequence[Part] = ()
    _rest: Sequence[Part] = ()

    def guilty(self) -> Guilty:
        """Narrow the parts down, then ask again: with the suspects it must fail, without them it must not."""
        what, everything = self.finding.what, self._likely_first(parts_of(self.course))
        with self.course.host.bus.step(f"who is guilty of '{what}'", where="bisect"):
            try:
                # Most often one part is at fault, and what was found tells which.
                alone = everything[:1]
                suspects = alone if self.fails(alone) else smallest(everything, self._failed)
                answers = self._asked(suspects)
                if not any(answers):
                    return Guilty(what, (), 0.0, (*self.runs, "it did not come about again"))
                rest = _without(everything, suspects)
                if rest:
                    answers += [not failed for failed in self._asked(rest)]
            except (GridvisorError, ExceptionGroup) as error:
                return Guilty(what, (), 0.0, (*self.runs, f"broken off: {error}"))
        self._suspects, self._rest = suspects, rest
        return Guilty(what, tuple(map(str, suspects)), answers.count(True) / len(answers), tuple(self.runs))

    def fails(self, parts: Sequence[Part]) -> bool:
        """Whether the finding is there again when the baseline gets these parts alone."""
        names = ", ".join(map(str, parts))
        with self.course.host.bus.step(f"try {names}", where="bisect"):
            failed = self._fails(parts)
        self.runs.append(f"{'fails' if failed else 'is fine'} with {names}")
        self._answers.setdefault(frozenset(parts), []).append(failed)
        return failed

    def _failed(self, parts: Sequence[Part]) -> bool:
        """As `fails`, by what came of these parts when that was tried before."""
        answers = self._answers.get(frozenset(parts))
        return answers[-1] if answers else self.fails(parts)

    def _asked(self, parts: Sequence[Part]) -> list[bool]:
        """What came of these parts each time, which is at least _REPEATS times."""
        answers = self._answers.setdefault(frozenset(parts), [])
        while len(answers) < _REPEATS:
            self.fails(parts)
        return list(answers)

    def _likely_first(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """The parts with those first that the finding speaks of, and then those of the machine where it was seen."""
        roles = self.course.release.roles if self.course.release is not None else {}
        deployment = site_of(self.course)
        role = {one.name: one.role.name for one in deployment.machines}.get(self.finding.step) if deployment else None

        def distance(part: Part) -> tuple[bool, bool]:
            there = part.role == role or (role is not None and role in roles and part.name in roles[role].asked)
            return part.name not in self.finding.text, not there

        return tuple(sorted(parts, key=distance))

    def still_there(self, others: Sequence[Finding]) -> list[Finding]:
        """Those of other findings that come about without the suspects; all, when there is nothing but suspects."""
        if not others or not self._suspects:
            return list(others)
        if not self._rest:
            return []
        every = [_Search(self.course, one) for one in others]
        quiet = [one for one in every if not one._kinds]
        busy = [one for one in every if one._kinds]
        found: list[_Search] = []
        with self.course.host.bus.step("what is there without it", where="bisect"):
            try:
                if quiet:
                    deployment = self._with(self._rest, boot=any(one.needs_boot for one in quiet))
                    found += [one for one in quiet if deployment is None or one.shows(deployment)]
                if busy:
                    problems = self._problems(self._rest, more=any(one._is_refusal for one in busy))
                    found += [one for one in busy if problems & one._kinds]
            except (GridvisorError, ExceptionGroup) as error:
                self.course.host.bus.warn(str(error), where="bisect")
                return list(others)
        return [one.finding for one in found]

    @property
    def _kinds(self) -> frozenset[str]:
        """The kinds of problems of a site in use that the finding is one of: the same fault shows now so, now so."""
        return next((kinds for kinds in (JOBS, FILES) if self.finding.what in kinds), frozenset())

    @property
    def needs_boot(self) -> bool:
        """Whether the finding may come only with a boot."""
        return self.finding.step in (RESTART, ALL_UPGRADED) or self.finding.what.startswith(START)

    def _fails(self, parts: Sequence[Part]) -> bool:
        if self._kinds:
            return bool(self._problems(parts, more=self._is_refusal) & self._kinds)
        deployment = self._with(parts, boot=self.needs_boot)
        return deployment is None or self.shows(deployment)

    @property
    def _is_refusal(self) -> bool:
        """Whether the finding comes only when the site is asked for more, again and again."""
        return self.finding.what in (REFUSED, NOT_STORED)

    def _problems(self, parts: Sequence[Part], *, more: bool) -> frozenset[str]:
        """The kinds of problems of the site in use, while the baseline gets these parts; see Load.ended for `more`."""
        self.course.pristine = False
        with Load(at_baseline(self.course)) as load:
            load.until_job_runs()
            try:  # noqa: SIM105 (before Python 3.12 suppress takes no groups)
                self._apply(load.deployment, parts)
            except* SystemSaidNo:  # a machine that does not come back: what that does to jobs is asked
                pass
            return frozenset(problem.what for problem in load.ended(more=more))

    def _with(self, parts: Sequence[Part], *, boot: bool) -> Deployment | None:
        """The baseline with these parts; None when the site says no to them."""
        self.course.pristine = False
        try:
            deployment = self._apply(at_baseline(self.course), parts)
            if boot:
                restart(deployment)
        except (SystemSaidNo, ExceptionGroup) as error:
            if not all(isinstance(one, SystemSaidNo) for one in leaves(error)):
                raise
            return None
        return deployment

    def shows(self, deployment: Deployment) -> bool:
        """Whether the finding is there on the site as it is."""
        what, step = self.finding.what, self.finding.step
        if step == MEASURES:
            try:
                takes = at_rest(deployment) if what.startswith(START) else in_use(deployment)
            except SystemSaidNo:
                return what == step
            return what in slower(self.course.trial.before, takes)
        if what == step:  # the step itself had failed, and did not now
            return False
        if step == COMPARED:
            return what in {risk.what for risk in risks(compared(self.course, deployment))}
        said = ask(self.course, deployment, what.partition("[")[0], again=False)
        return any(one.probe == what and one.outcome in BAD for one in said)

    def _apply(self, deployment: Deployment, parts: Sequence[Part]) -> Deployment:
        packages = {part.name for part in parts if not part.role}
        files = self._files(parts)
        for machine in in_order(deployment.machines, self.course.candidate.order):
            deployment, _ = apply_candidate(self.course, deployment, machine.name, roles=files, only=packages)
        return deployment

    def _files(self, parts: Sequence[Part]) -> Path | None:
        """A folder of roles with those files of the candidate that are among the parts; None when none is."""
        root, into = self.course.candidate.roles, self.course.folder / "bisect"
        shutil.rmtree(into, ignore_errors=True)
        chosen = [part for part in parts if part.role]
        if root is None or not chosen:
            return None
        for part in chosen:
            target = into / part.role / part.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / part.role / part.name, target, follow_symlinks=False)
        return into
