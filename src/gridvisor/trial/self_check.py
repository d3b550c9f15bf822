"""The first stage: a site of the baseline is up and green, or the trial is not started; and what it is like."""

from __future__ import annotations

import shutil
from functools import partial

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.down import destroy
from gridvisor.app.site.snapshot import list_snapshots, restore_snapshot, take_snapshot
from gridvisor.app.site.up import up
from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.core.parallel import aside
from gridvisor.site.check import CANDIDATE_ROLES
from gridvisor.trial.course import UP_S, Course, leaves
from gridvisor.trial.facts import collect_facts, write_facts
from gridvisor.trial.measure import MEASURES, at_rest, in_use
from gridvisor.trial.model import Blame, Stage
from gridvisor.trial.site import known_to_host, make_site, trial_name

TRIAL = "trial"
BASELINE = "baseline"
FACTS_BEFORE = "facts-before.json"


def self_check(course: Course) -> None:
    """Bring a site of the baseline up from nothing, probe it, and keep it as the snapshot 'baseline'."""
    with course.stage(Stage.SELF_CHECK, fault=Blame.INFRASTRUCTURE) as stage:
        with stage.step("site"):
            deployment = _site(course)
        with stage.step("site up", deployment):
            up(deployment, lambda _: None, timeout_s=UP_S)
        # apt works on the host, while the probes wait for guests.
        with aside(partial(course.freeze, deployment)) as frozen:
            with stage.step("probes", deployment) as step:
                step.probe(deployment, "not many_jobs_at_once")
            with stage.step("freeze packages"):
                frozen.result()
                stage.find_untried("freeze packages")
        with stage.step(MEASURES, deployment):
            course.note(before=(*in_use(deployment), *at_rest(deployment)))
        with stage.step("facts", deployment):
            write_facts(collect_facts(deployment), course.folder / FACTS_BEFORE)
        with stage.step("snapshot", deployment):
            take_snapshot(deployment, BASELINE)
            course.pristine = True


def site_of(course: Course) -> Deployment | None:
    """The trial's site as it is; None when there is none."""
    return known_to_host(course.host, trial_name(course.model.name, TRIAL))


def at_baseline(course: Course) -> Deployment:
    """The trial's site as the self-check has left it; made now, unprobed, when that stage was left out.

    Nothing of the candidate is on it, so a no of this site is not the candidate's: it is raised as a GridvisorError.
    """
    try:
        return _brought_to_baseline(course)
    except* SystemSaidNo as no:
        raise GridvisorError("\n".join(f"The baseline says no: {one}" for one in leaves(no))) from no


def _brought_to_baseline(course: Course) -> Deployment:
    deployment = site_of(course)
    if deployment is not None and course.pristine:
        return deployment
    if deployment is not None and any(one.name == BASELINE for one in list_snapshots(deployment)):
        shutil.rmtree(deployment.folder / CANDIDATE_ROLES, ignore_errors=True)
        return restore_snapshot(deployment, BASELINE, timeout_s=UP_S)
    deployment = _site(course)
    up(deployment, lambda _: None, timeout_s=UP_S)
    take_snapshot(deployment, BASELINE)
    return deployment


def _site(course: Course) -> Deployment:
    if left := site_of(course):
        destroy(left, keep_data=False)
    return make_site(course.host, course.model, TRIAL, course.folder)
