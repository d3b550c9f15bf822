"""The last stage: back to the baseline, as packages allow and by the snapshot, with the time that each takes."""

from __future__ import annotations

import json

from gridvisor.app.site.upgrade import downgrade_machine
from gridvisor.trial.course import Course
from gridvisor.trial.model import Blame, Stage, Weight
from gridvisor.trial.self_check import TRIAL, at_baseline
from gridvisor.trial.site import known_to_host, trial_name
from gridvisor.trial.upgrade import EACH, UPGRADE_S, in_order, require_ready


def rollback(course: Course) -> None:
    """Downgrade what was upgraded, where that goes; then restore the snapshot, which has to go, and probe."""
    with course.stage(Stage.ROLLBACK, fault=Blame.INFRASTRUCTURE) as stage:
        deployment = known_to_host(course.host, trial_name(course.model.name, TRIAL))
        upgraded = any(result.stage is Stage.UPGRADE for result in course.trial.stages)
        if deployment is not None and course.candidate.packages and upgraded:
            with stage.step("downgrade", deployment, fault=course.candidates_fault, no_is=Weight.REMARK) as step:
                for machine in reversed(in_order(deployment.machines, course.candidate.order)):
                    if (noted := course.folder / f"had-{machine.name}.json").exists():
                        debs, had = course.host.images.debs, json.loads(noted.read_text())
                        downgrade_machine(machine, deployment, debs, had=had, timeout_s=UPGRADE_S)
                        require_ready(machine, deployment)
                step.probe(deployment, EACH)
        course.pristine = False  # the way back is what is tried
        with stage.step("restore the snapshot"):
            deployment = at_baseline(course)
        with stage.step("probes", deployment) as step:
            step.probe(deployment, EACH)
