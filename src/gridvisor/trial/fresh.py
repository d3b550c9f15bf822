"""The stage of the fresh site: all machines built with the candidate from nothing."""

from __future__ import annotations

import json

from gridvisor.app.site.deployment import REPOSITORIES, Deployment
from gridvisor.app.site.down import destroy
from gridvisor.app.site.ready import NotReady
from gridvisor.app.site.up import up
from gridvisor.app.site.upgrade import installed
from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.core.files import write_whole
from gridvisor.run.command import CommandFailed
from gridvisor.trial.course import UP_S, Course, StageEnded, leaves
from gridvisor.trial.model import Stage, Weight
from gridvisor.trial.self_check import at_baseline
from gridvisor.trial.site import known_to_host, make_site, trial_name, with_candidate_roles
from gridvisor.trial.upgrade import ALL, packages_for, require_installable, require_locked

FRESH = "fresh"
_APT_REFUSES = ("unmet dependencies", "Sub-process")


def fresh(course: Course) -> None:
    """Build a site of its own with the candidate's packages and files, probe it, and remove it if all is well."""
    with course.stage(Stage.FRESH, fault=course.candidates_fault) as stage:
        with stage.step("packages"):
            if course.candidate.packages:
                baseline = at_baseline(course)
                course.freeze(baseline)
                stage.find_untried("packages")
                require_installable(course, stage, baseline)
        if any(one.weight is Weight.NO for one in stage.findings):
            raise StageEnded  # no site can be built without packages that its roles name
        with stage.step("site"):
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
    """Bring it up. Raises a group in which the candidate's word is a SystemSaidNo: apt cannot put packages together, or
    services do not answer, as those of the baseline did."""
    try:
        up(deployment, lambda _: None, timeout_s=UP_S)
    except (GridvisorError, ExceptionGroup) as error:
        told = [SystemSaidNo(str(one)) if _says_no(one) else one for one in leaves(error)]
        raise ExceptionGroup("the site did not come up", told) from error


def _says_no(error: Exception) -> bool:
    apt_refused = isinstance(error, CommandFailed) and any(words in error.message for words in _APT_REFUSES)
    return apt_refused or isinstance(error, NotReady)
