"""What a trial asks of a site before it believes it: the candidate is there, and jobs do what they are to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.app.site.job import Job
from gridvisor.core.errors import SystemSaidNo
from gridvisor.core.events import Bus
from gridvisor.package.apt import PackageVersion
from gridvisor.release.candidate import Candidate
from gridvisor.release.lock import Release, RolePackages
from gridvisor.trial import measure
from gridvisor.trial.course import Course
from gridvisor.trial.model import Blame, Stage, Trial, Weight
from gridvisor.trial.site import Model
from gridvisor.trial.upgrade import require_locked

FROZEN = RolePackages(
    ("slurmctld",),
    (PackageVersion("slurmctld", "26.05.5-1", "amd64", ""), PackageVersion("libllhttp9.4", "9.4.3", "amd64", "")),
)
CE: Any = SimpleNamespace(name="ce", role=SimpleNamespace(name="ce"))


@pytest.fixture
def course(tmp_path: Path) -> Course:
    host: Any = SimpleNamespace(bus=Bus())
    candidate = Candidate(tmp_path / "c.yaml", "next", "", (), None, ())
    release = Release("next", {"ce": FROZEN}, tmp_path)
    trial = Trial("1", "kiam", "next", "", 1.0)
    return Course(host, Model("kiam", tmp_path / "site.yaml"), candidate, tmp_path, trial, lambda _: None, release)


@pytest.mark.parametrize(
    ("has", "only", "found"),
    [
        ({"slurmctld": "26.05.5-1", "libllhttp9.4": "9.4.3"}, None, []),
        ({"slurmctld": "26.05.5-1"}, {"slurmctld"}, []),
        # As the images of a fresh site were that was built of the baseline.
        ({"slurmctld": "24.11.5-4"}, {"slurmctld"}, ["On 'ce' not what was frozen: slurmctld 24.11.5-4."]),
        ({}, {"slurmctld"}, ["On 'ce' not what was frozen: slurmctld is not there."]),
        ({"slurmctld": "26.05.5-1"}, None, ["On 'ce' not what was frozen: libllhttp9.4 is not there."]),
    ],
)
def test_what_is_tried_is_what_was_frozen(
    course: Course, has: dict[str, str], only: set[str] | None, found: list[str]
) -> None:
    with course.stage(Stage.FRESH, fault=Blame.MIDDLEWARE) as stage:
        require_locked(course, stage, "site up", CE, has, only=only)
    [result] = course.trial.stages
    assert [(one.text, one.weight, one.blame) for one in result.findings] == [
        (text, Weight.NO, Blame.INFRASTRUCTURE) for text in found
    ]


def jobs_are(monkeypatch: pytest.MonkeyPatch, module: object, *states: str) -> None:
    """Jobs of the site are, one after the other, in these states."""
    ids = iter(range(len(states)))
    monkeypatch.setattr(module, "submit", lambda *_: [str(next(ids))], raising=False)
    monkeypatch.setattr(module, "fetch", lambda *_: {}, raising=False)
    monkeypatch.setattr(module, "explained", lambda _, jobs: jobs)
    monkeypatch.setattr(
        module, "look", lambda _, asked: tuple(Job(one, states[int(one)], error="of sbatch") for one in asked)
    )


def test_a_job_that_fails_is_not_measured_as_one_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    account: Any = None
    jobs_are(monkeypatch, measure, "Finished", "Failed", "Finished")
    with pytest.raises(SystemSaidNo, match=r"1 Failed\. of sbatch") as raised:
        measure._jobs(account, "/tmp/x")
    assert "Finished" not in raised.value.message
    jobs_are(monkeypatch, measure, "Finished", "Finished", "Finished")
    assert [len(one.samples) for one in measure._jobs(account, "/tmp/x")] == [3, 3]
