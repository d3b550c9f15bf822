"""The last stage: back to the baseline, as packages allow and by the snapshot, with the time that each takes."""

from __future__ import annotations

import json
from functools import partial

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.upgrade import downgrade_machine
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.core.parallel import each
from gridvisor.run.command import Unreachable
from gridvisor.site.machine import Machine
from gridvisor.trial.course import Course
from gridvisor.trial.model import Blame, Stage, Weight
from gridvisor.trial.self_check import at_baseline, site_of
from gridvisor.trial.site import without_candidate_roles
from gridvisor.trial.upgrade import EACH, had_file, require_ready, up_with_files

DOWNGRADE = "downgrade"


def rollback(course: Course) -> None:
    """Take back files and packages, where that goes; then restore the snapshot, which has to go, and probe."""
    with course.stage(Stage.ROLLBACK, fault=Blame.INFRASTRUCTURE) as stage:
        deployment = site_of(course)
        upgraded = [] if deployment is None else [one for one in deployment.machines if had_file(course, one).exists()]
        # Once the snapshot is being restored there is nothing to downgrade any more.
        if deployment is not None and upgraded and not stage.had(DOWNGRADE):
            with stage.step(DOWNGRADE, deployment, fault=course.candidates_fault, no_is=Weight.REMARK) as step:
                each(upgraded, partial(_downgrade, course, deployment))
                if course.candidate.roles is not None:
                    deployment = without_candidate_roles(deployment)
                    up_with_files(deployment, {one.name for one in upgraded})
                each(upgraded, partial(require_ready, deployment=deployment))
                step.probe(deployment, EACH)
        course.pristine = False  # the way back is what is tried
        with stage.step("restore the snapshot"):
            deployment = at_baseline(course)
        with stage.step("probes", deployment) as step:
            step.probe(deployment, EACH)


def _downgrade(course: Course, deployment: Deployment, machine: Machine) -> None:
    had = json.loads(had_file(course, machine).read_text())
    try:
        downgrade_machine(machine, deployment, course.host.images.debs, had=had, timeout_s=course.upgrade_s)
    except (Unreachable, TimedOut) as error:  # as the upgrade has left it; the snapshot is restored all the same
        text = f"'{machine.name}' cannot be given its packages back: {error.message}"
        raise SystemSaidNo(text, hint=error.hint) from error
