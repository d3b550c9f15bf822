"""What is told of the jobs that go through a site while it is upgraded."""

from __future__ import annotations

import pytest

from gridvisor.app.site.job import Job
from gridvisor.trial.load import AGAIN, FAILED, LOST, OUTPUT, STUCK, UNASKED, judge, would_run_soon

ID = "https://ce.grid.test:443/arex/rest/1.0/jobs/1"


@pytest.mark.parametrize(
    ("job", "output", "what"),
    [
        (Job(ID, "Finished", 0), "job-1 1", None),
        (Job(ID, "Finished", 0), "job-1 2", AGAIN),
        (Job(ID, "Failed", 1), "job-1 2", AGAIN),
        (Job(ID, "Finished", 0), "", OUTPUT),
        (Job(ID, "Finished", 0), "job-2 1", OUTPUT),
        (Job(ID, "Failed", 271, error="LRMS error: (271) job was killed"), "", FAILED),
        (Job(ID, "Unknown", error="not found"), "", LOST),
        (Job(ID, "Unknown", error="ERROR: Failed to establish connection: TLS\nWARNING: no"), "", UNASKED),
        (Job(ID, "Queuing"), "", STUCK),
    ],
)
def test_each_way_to_go_wrong_has_its_name(job: Job, output: str, what: str | None) -> None:
    problem = judge("job-1", job, output)
    assert (problem and problem[0]) == what
    assert problem is None or problem[1]


@pytest.mark.parametrize(
    ("jobs", "slots", "since_s", "soon"),
    [
        (0, 1, 0, True),
        (1, 1, 1, True),  # behind the first
        (2, 1, 1, False),  # behind the second, which waits itself
        (2, 2, 1, True),
        (2, 1, 26, True),  # when the first has ended
        (0, 0, 100, False),  # there is nothing to run it on
    ],
)
def test_no_job_is_submitted_that_waits_for_more_than_one(jobs: int, slots: int, since_s: float, soon: bool) -> None:
    assert would_run_soon(jobs, slots, since_s) == soon
