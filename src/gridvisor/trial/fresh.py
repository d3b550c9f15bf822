"""The stage of the fresh site: all machines built with the candidate from nothing."""

from __future__ import annotations

import json

from gridvisor.app.site.deployment import REPOSITORIES, Deployment
from gridvisor.app.site.down import destroy
from gridvisor.app.site.up import up
from gridvisor.app.site.upgrade import installed
from gridvisor.core.errors import SystemSaidNo
from gridvisor.core.files import write_whole
from gridvisor.run.command import CommandFailed
from gridvisor.trial.course import UP_S, Course, StageEnded, leaves
from gridvisor.trial.model import Stage, Weight
from gridvisor.trial.self_check import at_baseline
from gridvisor.trial.site import known_to_host, make_site, trial_name, with_candidate_roles
from gridvisor.trial.upgrade import ALL, packages_for, require_installable, require_locked

FRESH = "fresh"


def fresh(course: Course) -> None:
    """Build a site of its own with the candidate's packages and files, probe it, and remove it if all is well."""
    with course.stage(Stage.FRESH, fault=course.candidates_fault) as stage:
        with stage.step("packages"):
            if course.candidate.packages:
                baseline = at_baseline(course)
                course.freeze(baseline)
                require_installable(course, stage, baseline)
        if any(one.weight is Weight.NO for one in stage.findings):
            raise StageEnded  # no site can be built without packages that its roles name
        deployment = _site(course)
        with stage.step("site up", deployment) as step:
            _up(deployment)
            for machine in deployment.machines:
                if packages := packages_for(machine, course):
                    has = installed(machine, deployment)
                    require_locked(course, stage, step.name, machine, has, only=packages)
        with stage.step("probes", deployment) as step:
            step.probe(deployment, ALL)
        if not stage.findings:
            destroy(deployment, keep_data=False)


def _site(course: Course) -> Deployment:
    if left := known_to_host(course.host, trial_name(course.model.name, FRESH)):
        destroy(left, keep_data=False)
    deployment = make_site(course.host, course.model, FRESH, course.folder)
    if course.release is not None:
        folder = str(course.release.folder)
        by_role = {role: folder for role, packages in course.release.roles.items() if packages.install}
        write_whole(deployment.folder / REPOSITORIES, json.dumps(by_role))
    if course.candidate.roles is not None:
        roles = tuple(sorted({machine.role.name for machine in deployment.machines}))
        deployment = with_candidate_roles(deployment, course.candidate.roles, roles)
    return deployment


def _up(deployment: Deployment) -> None:
    """Bring it up. Raises SystemSaidNo when apt says that packages do not go together: that is the candidate's word."""
    try:
        up(deployment, lambda _: None, timeout_s=UP_S)
    except (CommandFailed, ExceptionGroup) as error:
        said = [one.message for one in leaves(error) if isinstance(one, CommandFailed)]
        if said and any("unmet dependencies" in text or "Sub-process" in text for text in said):
            raise SystemSaidNo("\n".join(said)) from error
        raise
