"""The stage of the upgrade: the baseline site, in place and machine by machine, with the site in use all the while."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.ready import wait_until_ready
from gridvisor.app.site.up import up
from gridvisor.app.site.upgrade import Upgraded, installed, upgrade_machine
from gridvisor.core.deadline import Deadline
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.core.units import counted
from gridvisor.run.command import CommandFailed
from gridvisor.site.machine import Machine
from gridvisor.trial.compare import changes, risks
from gridvisor.trial.course import Course, StageRun, leaves
from gridvisor.trial.facts import collect_facts, read_facts
from gridvisor.trial.load import Load
from gridvisor.trial.model import Blame, Change, Stage, Weight
from gridvisor.trial.self_check import FACTS_BEFORE, at_baseline
from gridvisor.trial.site import with_candidate_roles

COMPARED = "before and after"
UPGRADE_S = 600.0
READY_S = 120.0
# What is asked after each machine: all but jobs, which go through the site all the while, and what takes seconds and
# has nothing to do with releases.
EACH = "not test_site and not no_way_out and not reaches_nothing_else and not packages_as_released"
ALL = "not packages_as_released and not many_jobs_at_once"


def upgrade(course: Course) -> None:
    """Upgrade the machines in the candidate's order, and probe after each."""
    with course.stage(Stage.UPGRADE, fault=course.candidates_fault) as stage:
        with stage.step("baseline"):
            deployment = at_baseline(course)
        with stage.step("packages", deployment):
            course.freeze(deployment)
            require_installable(course, stage, deployment)
        course.pristine = False
        with Load(deployment) as load:
            try:
                for machine in in_order(deployment.machines, course.candidate.order):
                    load.step(machine.name)
                    deployment = _machine(course, stage, deployment, machine.name)
            finally:
                _tell_load(stage, load)
        with stage.step("all upgraded", deployment) as step:
            step.probe(deployment, ALL)
        with stage.step(COMPARED, deployment):
            found = compared(course, deployment)
            course.note(changes=found)
            for risk in risks(found):
                stage.find(COMPARED, risk.what, risk.text, blame=risk.blame, weight=risk.weight)


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


def _tell_load(stage: StageRun, load: Load) -> None:
    """What became of the jobs and files of the meantime."""
    with stage.step("jobs and files of the meantime") as step:
        for problem in load.ended():
            blame = Blame.INFRASTRUCTURE if problem.ours else None
            stage.find(problem.step, problem.what, problem.text, blame=blame)
        step.say(load.summary)


def _machine(course: Course, stage: StageRun, deployment: Deployment, name: str) -> Deployment:
    with stage.step(name, deployment) as step:
        began_s = time.monotonic()
        # Noted first: a machine that is upgraded by half is to be brought back as well.
        course.keep_file(f"had-{name}.json", json.dumps(installed(deployment.machine(name), deployment)))
        deployment, done = apply_candidate(course, deployment, name, roles=course.candidate.roles)
        if done is not None:
            course.keep_file(f"evidence/apt-{name}.txt", done.log)
            step.say(f"{counted(len(done.changed), 'package')} changed")
        step.say(f"ready after {time.monotonic() - began_s:.1f} s")
        step.probe(deployment, EACH)
    return deployment


def apply_candidate(
    course: Course,
    deployment: Deployment,
    name: str,
    *,
    roles: Path | None,
    only: Collection[str] | None = None,
) -> tuple[Deployment, Upgraded | None]:
    """Give the machine the candidate's packages (those of `only`), then files of `roles`; on return it is ready.

    Gives back the site as it is then, and what apt has done, if it was asked to do anything.
    """
    machine, done = deployment.machine(name), None
    asked = course.release.roles[machine.role.name].asked if course.release is not None else ()
    if wanted := [one for one in asked if only is None or one in only]:
        assert course.release is not None
        done = upgrade_machine(machine, deployment, course.release, only=wanted, timeout_s=UPGRADE_S)
    if roles is not None:
        deployment = with_candidate_roles(deployment, roles, (machine.role.name,))
        machine = deployment.machine(name)
        try:
            up(deployment, lambda _: None, timeout_s=UPGRADE_S, only={name})
        except* CommandFailed as failed:  # a reload of the role: what the files are for does not take them
            raise SystemSaidNo("\n".join(map(str, leaves(failed)))) from failed
    require_ready(machine, deployment)
    return deployment, done


def require_ready(machine: Machine, deployment: Deployment) -> None:
    """Return when the machine's services answer. Raises SystemSaidNo when they do not: they did, before."""
    try:
        wait_until_ready(machine, deployment, Deadline.after(READY_S), again=True)
    except TimedOut as error:
        raise SystemSaidNo(error.message, hint=error.hint) from error
