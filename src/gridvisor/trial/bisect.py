"""The guilty package or file: the smallest part of a candidate with which what stands against it is still there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.trial.compare import risks
from gridvisor.trial.course import BAD, Course, ask, leaves
from gridvisor.trial.load import IN_USE, Load
from gridvisor.trial.model import Finding, Guilty, Stage
from gridvisor.trial.self_check import at_baseline
from gridvisor.trial.upgrade import COMPARED, apply_candidate, compared, in_order
from gridvisor.trial.verdict import against

T = TypeVar("T")

MOST = 2  # findings of which the guilty part is looked for: most often all have the same
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


def find_guilty(course: Course) -> tuple[Guilty, ...]:
    """The guilty parts of the first findings of the upgrade that stand against the candidate.

    Each try restores the trial's snapshot. What cannot be tried gives a Guilty without suspects, which says why.
    """
    found = [one for one in against(course.trial) if one.stage is Stage.UPGRADE and one.step != "packages"]
    return tuple(_Search(course, finding).guilty() for finding in found[:MOST])


@dataclass
class _Search:
    course: Course
    finding: Finding
    runs: list[str] = field(default_factory=list)

    def guilty(self) -> Guilty:
        """Narrow the parts down, then ask again: with the suspects it must fail, without them it must not."""
        what, everything = self.finding.what, parts_of(self.course)
        with self.course.host.bus.step(f"who is guilty of '{what}'", where="bisect"):
            try:
                if not self.fails(everything):
                    return Guilty(what, (), 0.0, (*self.runs, "it is fine with all of it when tried again"))
                suspects = smallest(everything, self.fails)
                answers = [self.fails(suspects) for _ in range(_REPEATS)]
                if rest := _without(everything, suspects):
                    answers += [not self.fails(rest) for _ in range(_REPEATS)]
            except (GridvisorError, ExceptionGroup) as error:
                return Guilty(what, (), 0.0, (*self.runs, f"broken off: {error}"))
        return Guilty(what, tuple(map(str, suspects)), answers.count(True) / len(answers), tuple(self.runs))

    def fails(self, parts: Sequence[Part]) -> bool:
        """Whether the finding is there again when the baseline gets these parts alone."""
        names = ", ".join(map(str, parts))
        with self.course.host.bus.step(f"try {names}", where="bisect"):
            failed = self._fails(parts)
        self.runs.append(f"{'fails' if failed else 'is fine'} with {names}")
        return failed

    def _fails(self, parts: Sequence[Part]) -> bool:
        self.course.pristine = False
        deployment = at_baseline(self.course)
        if self.finding.what in IN_USE:
            with Load(deployment) as load:
                try:
                    self._apply(deployment, parts)
                finally:
                    problems = load.ended()
            return any(problem.what == self.finding.what for problem in problems)
        try:
            deployment = self._apply(deployment, parts)
        except (SystemSaidNo, ExceptionGroup) as error:
            if not all(isinstance(one, SystemSaidNo) for one in leaves(error)):
                raise
            return True
        if self.finding.what == self.finding.step:  # the step itself had failed, and did not now
            return False
        if self.finding.step == COMPARED:
            return self.finding.what in {risk.what for risk in risks(compared(self.course, deployment))}
        said = ask(self.course, deployment, self.finding.what.partition("[")[0])
        return any(one.probe == self.finding.what and one.outcome in BAD for one in said)

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
