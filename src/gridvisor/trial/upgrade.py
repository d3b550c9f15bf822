"""The stage of the upgrade: the baseline site, in place and machine by machine, with the site in use all the while."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.plan import Act, Step
from gridvisor.app.site.ready import wait_until_ready
from gridvisor.app.site.up import up
from gridvisor.app.site.upgrade import Upgraded, installed, upgrade_machine
from gridvisor.core.deadline import Deadline
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.core.files import write_whole
from gridvisor.core.units import counted
from gridvisor.run.command import CommandFailed, Unreachable
from gridvisor.site.machine import Machine
from gridvisor.trial.compare import changes, risks
from gridvisor.trial.course import Course, StageEnded, StageRun, leaves
from gridvisor.trial.facts import collect_facts, read_facts
from gridvisor.trial.load import Load
from gridvisor.trial.measure import MEASURES, START, at_rest, in_use, joined, slower
from gridvisor.trial.model import Blame, Change, Stage, Weight
from gridvisor.trial.restart import RESTART, restart
from gridvisor.trial.self_check import FACTS_BEFORE, at_baseline
from gridvisor.trial.site import with_candidate_roles

ALL_UPGRADED = "all upgraded"
COMPARED = "before and after"
READY_S = 45.0  # on a usual host, where a whole site boots in 35 s; what apt has upgraded it has also started
# What is asked after each machine: all but jobs, which go through the site all the while, and what takes seconds and
# has nothing to do with releases.
_LEFT_OUT = ("test_site", "job_submitted", "no_way_out", "reaches_nothing_else", "packages_as_released")
EACH = " and ".join(f"not {name}" for name in _LEFT_OUT)
_OF_ITSELF = ("names_known", "clock_agrees", "certificate_valid", "revocation_list_current")
ALL = "not packages_as_released and not many_jobs_at_once"


def upgrade(course: Course) -> None:
    """Upgrade the machines that the candidate has something for, in its order, and probe after each."""
    with course.stage(Stage.UPGRADE, fault=course.candidates_fault) as stage:
        with stage.step("baseline"):
            deployment = at_baseline(course)
        with stage.step("packages", deployment):
            course.freeze(deployment)
            stage.find_untried("packages")
            require_installable(course, stage, deployment)
        course.pristine = False
        with ExitStack() as stack:
            with stage.step("jobs and files begin", deployment, fault=Blame.INFRASTRUCTURE):  # still the baseline
                load = stack.enter_context(Load(deployment))
            try:
                for machine in in_order(deployment.machines, course.candidate.order):
                    if not packages_for(machine, course) and not _has_files(machine, course.candidate.roles):
                        continue
                    load.step(machine.name)
                    deployment = _machine(course, stage, deployment, machine.name, load)
            except StageEnded:
                _tell_load(stage, load, more=False)
                raise
            _tell_load(stage, load, more=True)
        with stage.step(RESTART, deployment):
            restart(deployment)
        with stage.step(ALL_UPGRADED, deployment) as step:
            step.probe(deployment, ALL)
        with stage.step(COMPARED, deployment):
            found = compared(course, deployment)
            course.note(changes=found)
            for risk in risks(found):
                stage.find(COMPARED, risk.what, risk.text, blame=risk.blame, weight=risk.weight)
        if course.trial.before:
            with stage.step(MEASURES, deployment):
                _measure(course, stage, deployment)


def _measure(course: Course, stage: StageRun, deployment: Deployment) -> None:
    """Measure as the self-check did. What is slow is measured once more, before it is a finding."""
    before, after = course.trial.before, (*in_use(deployment), *at_rest(deployment))
    if slow := slower(before, after):
        if any(what.startswith(START) for what in slow):
            restart(deployment)
            after = joined(after, at_rest(deployment))
        if not all(what.startswith(START) for what in slow):
            after = joined(after, in_use(deployment))
    course.note(after=after)
    for what, text in slower(before, after).items():
        stage.find(MEASURES, what, text)


def compared(course: Course, deployment: Deployment) -> tuple[Change, ...]:
    """What is other on the machines than when the self-check looked; nothing if that was left out."""
    return changes(read_facts(course.folder / FACTS_BEFORE), collect_facts(deployment))


def in_order(machines: Sequence[Machine], order: Iterable[str]) -> tuple[Machine, ...]:
    """The machines as `order` has them, which names roles and machines; those that it does not name come last."""
    named = [machine for word in order for machine in machines if word in (machine.role.name, machine.name)]
    return tuple(dict.fromkeys((*named, *machines)))


def require_installable(course: Course, stage: StageRun, deployment: Deployment) -> None:
    """Raise SystemSaidNo when a role's machines cannot have the packages. What goes from them for it is found too.

    A package that the role names must not go; libraries come and go with those that need them.
    """
    roles = course.release.roles if course.release is not None else {}
    for role, packages in roles.items():
        named = deployment.of_role(role)[0].role.packages
        for name in packages.remove:
            if name in named or not name.startswith("lib"):
                text = f"'{name}' goes from machines of the role '{role}': it cannot be there with the candidate."
                weight = Weight.NO if name in named else Weight.REMARK
                stage.find("packages", f"{name} of {role}", text, blame=Blame.MIDDLEWARE, weight=weight)
    refused = [f"On machines of the role '{role}':\n{one.refused}" for role, one in roles.items() if one.refused]
    if refused:
        raise SystemSaidNo("The candidate cannot be installed.\n" + "\n".join(refused))


def _tell_load(stage: StageRun, load: Load, *, more: bool) -> None:
    """What became of the jobs and files of the meantime, and `more` of each with all machines upgraded."""
    with stage.step("jobs and files of the meantime") as step:
        problems = load.ended(more=more)
        evidence = stage.evidence(step.name, load.deployment) if problems else ()
        for problem in problems:
            blame = Blame.INFRASTRUCTURE if problem.ours else None
            stage.find(problem.step, problem.what, problem.text, blame=blame, evidence=evidence)
        step.say(load.summary)
    stage.course.note(jobs=load.jobs)


def require_locked(
    course: Course,
    stage: StageRun,
    step: str,
    machine: Machine,
    has: Mapping[str, str],
    *,
    only: Collection[str] | None = None,
) -> None:
    """Find it when the machine `has` other versions than were frozen, of all packages or `only` of these: then the lock
    is not what is tried."""
    assert course.release is not None
    frozen = course.release.roles[machine.role.name].install
    locked = {one.name: one.version for one in frozen if only is None or one.name in only}
    other = [f"{name} {has.get(name, 'is not there')}" for name, version in locked.items() if has.get(name) != version]
    if other:
        text = f"On '{machine.name}' not what was frozen: {', '.join(other)}."
        stage.find(step, f"packages of {machine.name}", text, blame=Blame.INFRASTRUCTURE)


def had_file(course: Course, machine: Machine) -> Path:
    """Where the packages are noted that the machine had before it was upgraded; there only when it was begun with."""
    return course.folder / f"had-{machine.name}.json"


def after(name: str) -> str:
    """What is asked after the upgrade of a machine: of the others nothing that is about them alone."""
    return " and ".join((EACH, *(f"(not {probe} or {probe}[{name}])" for probe in _OF_ITSELF)))


def _machine(course: Course, stage: StageRun, deployment: Deployment, name: str, load: Load) -> Deployment:
    with stage.step(name, deployment) as step:
        began_s = time.monotonic()
        machine = deployment.machine(name)
        # Noted first: a machine that is upgraded by half is to be brought back as well.
        write_whole(had_file(course, machine), json.dumps(installed(machine, deployment)))
        deployment, done = apply_candidate(
            course, deployment, name, roles=course.candidate.roles, before_anew=load.rest
        )
        if load.resting:
            step.say("made or booted anew, with no job under way")
            load.begin()
        if done is not None:
            course.keep_file(f"evidence/apt-{name}.txt", done.log)
            step.say(f"{counted(len(done.changed), 'package')} changed")
            require_locked(course, stage, name, machine, done.after)
        step.say(f"ready after {time.monotonic() - began_s:.1f} s")
        step.probe(deployment, after(name))
    return deployment


def apply_candidate(
    course: Course,
    deployment: Deployment,
    name: str,
    *,
    roles: Path | None,
    only: Collection[str] | None = None,
    before_anew: Callable[[], None] = lambda: None,
) -> tuple[Deployment, Upgraded | None]:
    """Give the machine the candidate's packages (those of `only`), then files of `roles`; on return it is ready.

    `before_anew` is called when the machine is about to be made or booted anew, since of the candidate's role it is to
    have another image, other memory or other cards.
    Gives back the site as it is then, and what apt has done, if it was asked to do anything.
    """
    machine, done = deployment.machine(name), None
    wanted = [one for one in packages_for(machine, course) if only is None or one in only]
    if wanted:
        done = _upgraded(course, deployment, machine, wanted)
    if roles is not None and _has_files(machine, roles):
        deployment = with_candidate_roles(deployment, roles, (machine.role.name,))
        machine = deployment.machine(name)
        steps = up_with_files(deployment, {name}, lambda steps: before_anew() if _makes_anew(steps) else None)
        if done is not None and _makes_anew(steps):
            # Maybe of another recipe: then its disk was made anew too, with the baseline's packages. Else it has them.
            again = _upgraded(course, deployment, machine, wanted)
            done = again if again.changed else done
    if wanted or _has_files(machine, roles):
        require_ready(machine, deployment)
    return deployment, done


def up_with_files(
    deployment: Deployment, names: Collection[str], show: Callable[[Sequence[Step]], None] = lambda _: None
) -> Sequence[Step]:
    """Give the machines of these names the files that their roles have now; see `up` for `show`.

    Raises SystemSaidNo when what the files are for does not take them, or does not answer with them.
    """
    try:
        return up(deployment, show, timeout_s=READY_S, only=names)
    except* (CommandFailed, TimedOut) as failed:
        raise SystemSaidNo("\n".join(map(str, leaves(failed)))) from failed


def _makes_anew(steps: Sequence[Step]) -> bool:
    return any(step.act is Act.REPLACE for step in steps)


def _upgraded(course: Course, deployment: Deployment, machine: Machine, wanted: Collection[str]) -> Upgraded:
    assert course.release is not None
    try:
        return upgrade_machine(machine, deployment, course.release, only=wanted, timeout_s=course.upgrade_s)
    except (Unreachable, TimedOut):
        require_ready(machine, deployment)  # one that is gone for good has said no: its upgrade did that
        raise


def packages_for(machine: Machine, course: Course) -> tuple[str, ...]:
    """The packages that the candidate names and that the machine has otherwise."""
    if course.release is None:
        return ()
    of_role = course.release.roles[machine.role.name]
    new = {one.name for one in of_role.install}
    return tuple(name for name in of_role.asked if name in new)


def _has_files(machine: Machine, roles: Path | None) -> bool:
    return roles is not None and (roles / machine.role.name).is_dir()


def require_ready(machine: Machine, deployment: Deployment) -> None:
    """Return when the machine's services answer. Raises SystemSaidNo when they do not: they did, before."""
    try:
        deadline = Deadline.after(READY_S * deployment.host.pace().times)
        wait_until_ready(machine, deployment, deadline, again=True)
    except TimedOut as error:
        raise SystemSaidNo(error.message, hint=error.hint) from error
