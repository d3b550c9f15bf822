"""The jobs of the probes are followed aside: to their ends, or no further than anybody wants."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.app.site import job
from gridvisor.app.site.job import Job
from gridvisor.core.errors import SystemSaidNo
from gridvisor.core.events import Bus
from gridvisor.probe import batch as module
from gridvisor.probe.batch import JobBatch


class Site:
    """An account whose jobs are in these states, and what it was asked to run."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.ran: list[tuple[str, ...]] = []
        self.looked = threading.Event()
        self.user = self.machine = SimpleNamespace(name="ui")
        self.deployment = SimpleNamespace(host=SimpleNamespace(bus=Bus()), site=SimpleNamespace(site="kiam"))

    def look(self, _: object, ids: Sequence[str]) -> tuple[Job, ...]:
        self.looked.set()
        return tuple(Job(one, self.states[one], 0) for one in ids)

    def run(self, command: Any, **_: object) -> SimpleNamespace:
        self.ran.append(tuple(command.argv))
        return SimpleNamespace(status=0, stdout="", stderr="")


def of(site: Site, monkeypatch: pytest.MonkeyPatch) -> JobBatch:
    monkeypatch.setattr(module, "look", site.look)
    monkeypatch.setattr(job, "look", site.look)
    monkeypatch.setattr(module, "explained", lambda _, jobs: tuple(replace(one, error="of sbatch") for one in jobs))
    monkeypatch.setattr(module, "fetch", lambda _, __, ids: {one: (f"output of {one}", "") for one in ids})
    ids = {kind: [kind] for kind in ("long", "plain", "failing") if kind in site.states}
    return JobBatch(site, "/tmp/job-X", data="", ids=ids)  # type: ignore[arg-type]


def test_jobs_have_their_ends_and_the_long_one_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(long="Running", plain="Finished", failing="Failed")
    batch = of(site, monkeypatch)
    with batch.followed():
        assert batch.one("plain").stdout == "output of plain"
        assert batch.one("failing").job.state == "Failed"
        assert batch.cancel() == "long"
    assert site.ran == [("arckill", "--keep", "long")]


def test_a_long_job_that_does_not_run_takes_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = of(Site(long="Failed", plain="Finished"), monkeypatch)
    with batch.followed():
        assert batch.one("plain").status == 0
        with pytest.raises(SystemSaidNo, match=r"was to run until it is cancelled: Failed\. of sbatch"):
            batch.cancel()


def test_jobs_that_do_not_end_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDS_S", 0.0)
    batch = of(Site(long="Running", plain="Queuing"), monkeypatch)
    with batch.followed(), pytest.raises(SystemSaidNo, match="plain Queuing"):
        batch.ended("plain")


def test_nobody_waits_for_jobs_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(long="Accepted", plain="Accepted")  # which goes on for ever
    with of(site, monkeypatch).followed():
        assert site.looked.wait(10)
