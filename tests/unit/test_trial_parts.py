"""The pure parts of a trial's story: names, orders, and what becomes of a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.app.site.job import Job
from gridvisor.site.check import load_site
from gridvisor.trial.load import judge
from gridvisor.trial.site import trial_name
from gridvisor.trial.upgrade import in_order

KIAM = Path(__file__).resolve().parents[2] / "examples/kiam.yaml"


def test_the_trials_site_is_called_after_the_users() -> None:
    assert trial_name("kiam-test", "trial") == "kiam-test-trial"


def test_a_long_name_stays_one_that_a_site_may_have_and_is_nobody_elses() -> None:
    first, second = (trial_name(f"a-site-with-a-long-name{end}", "trial") for end in "xy")
    assert first != second
    assert all(len(name) <= 24 and name.endswith("-trial") for name in (first, second))


def test_machines_are_upgraded_in_the_order_of_the_candidate() -> None:
    _, machines = load_site(KIAM)

    def names(*order: str) -> list[str]:
        return [machine.name for machine in in_order(machines, order)]

    assert names("se", "mon", "ce", "wn", "ui") == ["se", "mon", "ce", "wn1", "wn2", "ui"]
    assert names("wn2", "wn", "wn2") == ["wn2", "wn1", "ui", "ce", "se", "mon"]
    assert names() == [machine.name for machine in machines]


@pytest.mark.parametrize(
    ("job", "output", "kind"),
    [
        (Job("1", "Finished", 0), "job-1 1", None),
        (Job("1", "Finished", 0), "job-1 2", "job run again"),
        (Job("1", "Finished", 0), "", "job's output wrong"),
        (Job("1", "Finished", 0), "job-2 1", "job's output wrong"),
        (Job("1", "Failed", 1, "Job was killed"), "", "job failed"),
        (Job("1", "Killed"), "", "job failed"),
        (Job("1", "Unknown"), "", "job lost"),
        (Job("1", "Running"), "", "job stuck"),
    ],
)
def test_a_job_that_is_not_as_it_should_be_is_told_by_its_kind(job: Job, output: str, kind: str | None) -> None:
    found = judge("job-1", job, output)
    assert (found[0] if found else None) == kind
