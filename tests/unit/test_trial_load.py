"""What is told of the jobs that go through a site while it is upgraded."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.app.site.job import Job
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.run.command import Command, Result
from gridvisor.trial import load as load_module
from gridvisor.trial.load import (
    AGAIN,
    FAILED,
    LOST,
    NOT_STORED,
    OTHER,
    OUTPUT,
    REFUSED,
    STUCK,
    UNASKED,
    Load,
    judge,
    would_run_soon,
)

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


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A load on a site with a worker node and no storage, whose thread is not begun yet."""
    deployment: Any = SimpleNamespace(of_role=lambda role: [SimpleNamespace(vcpus=1)] if role == "wn" else [])
    found = Load(deployment)
    found._account, found._folder, found._slots = SimpleNamespace(), "/tmp/x", 1  # type: ignore[assignment]
    found._thread = threading.Thread(target=found._work, daemon=True)
    monkeypatch.setattr(load_module, "fetch", lambda *_: {})
    monkeypatch.setattr(load_module, "explained", lambda _, jobs: jobs)
    monkeypatch.setattr(load_module, "MAY_REFUSE_S", 0.5)
    return found


@pytest.mark.parametrize("more", [True, False])
def test_what_is_refused_until_the_end_is_told(load: Load, monkeypatch: pytest.MonkeyPatch, more: bool) -> None:
    refused = threading.Event()

    def refuse(*_: object) -> None:
        refused.set()
        raise SystemSaidNo("no")

    monkeypatch.setattr(load_module, "submit", refuse)
    assert load._thread is not None
    load._thread.start()
    assert refused.wait(10)
    if more:  # of what is refused when the site is in use for the last time, too
        assert {problem.what for problem in load.ended()} == {REFUSED}
    else:
        assert load.ended(more=False) == ()


def test_a_last_job_is_submitted_with_all_machines_upgraded(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, ...]] = []
    first = threading.Event()

    def submit(_: object, __: str, wish: Any) -> list[str]:
        sent.append(tuple(wish.command[-2:]))
        first.set()
        return [str(len(sent))]

    monkeypatch.setattr(load_module, "submit", submit)
    monkeypatch.setattr(load_module, "look", lambda _, ids: tuple(Job(one, "Finished", 0) for one in ids))
    assert load._thread is not None
    load._thread.start()
    assert first.wait(10)
    load.ended()
    assert sent == [("job-1", "25"), ("job-2", "1")]


def test_after_a_rest_jobs_are_others_and_all_are_told(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    begun = threading.Semaphore(0)

    def submit(_: object, __: str, wish: Any) -> list[str]:
        sent.append(wish.command[-2])
        begun.release()
        return [str(len(sent))]

    account = SimpleNamespace(require_proxy=lambda: None)
    monkeypatch.setattr(load_module, "submit", submit)
    monkeypatch.setattr(load_module, "look", lambda _, ids: tuple(Job(one, "Finished", 0) for one in ids))
    monkeypatch.setattr(load_module, "Account", SimpleNamespace(of=lambda _: account))
    monkeypatch.setattr(load_module, "work_folder", lambda _: nullcontext("/tmp/x"))
    load.deployment.of_role = lambda role: [SimpleNamespace(vcpus=1)] if role != "se" else []  # type: ignore[method-assign]
    load.begin()
    assert begun.acquire(timeout=10)
    load.rest()
    assert load.resting
    assert [job.name for job in load.jobs] == sent == ["job-1", "job-2"]  # with the last one, which is short
    load.begin()
    assert not load.resting
    for _ in range(2):
        assert begun.acquire(timeout=10)
    load.ended()
    assert [job.name for job in load.jobs] == sent == ["job-1", "job-2", "job-3", "job-4"]
    assert load.summary == "4 jobs and 0 files meanwhile"


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["file"], set()),
        ([9, "file"], set()),  # refused at first
        ([51, "file"], set()),  # taken, and not read at first
        ([51, "other"], {OTHER}),
        ([51, 54, 54], {NOT_STORED}),  # taken, and lost: it is not stored once more
    ],
)
def test_a_file_that_was_taken_must_be_there(
    load: Load, monkeypatch: pytest.MonkeyPatch, answers: list[int | str], found: set[str]
) -> None:
    """Each answer is a status, or what the file is read as."""
    ran: list[str] = []

    def run(command: Command, **_: object) -> Result:
        ran.append("read" if command.argv[0] == "xrdcp" else "store")
        answer = answers[min(len(ran), len(answers)) - 1]
        if isinstance(answer, int):
            return Result(command, answer, "", "no such file", 0.1, "ui")
        return Result(command, 0, "file-1 of /tmp/x" if answer == "file" else answer, "", 0.1, "ui")

    monkeypatch.setattr(load_module, "MAY_REFUSE_S", 1.5)
    load.deployment.of_role = lambda _: [SimpleNamespace(fqdn="se.grid.test")]  # type: ignore[method-assign, assignment, list-item, return-value]
    load._account = SimpleNamespace(run=run, user=SimpleNamespace(vo="dteam"))  # type: ignore[assignment]
    load._store("file-1")
    assert {problem.what for problem in load._problems} == found
    stored = [number for number, answer in enumerate(answers) if answer == 9]
    assert ran == ["store"] * (len(stored) + 1) + ["read"] * (len(ran) - len(stored) - 1)


def test_a_computing_element_that_does_not_answer_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    unreached = Job(ID, "Unknown", error="ERROR: Failed to establish connection: TLS")
    looks = [(unreached,), (Job(ID, "Running"),), (Job(ID, "Finished", 0),)]
    monkeypatch.setattr(load_module, "look", lambda *_: looks.pop(0))
    monkeypatch.setattr(load_module, "wait_until", asked_until_it_is_so)
    account: Any = None
    assert [job.state for job in load_module._followed(account, [ID])] == ["Finished"]


def test_one_that_does_not_answer_at_all_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    unreached = Job(ID, "Unknown", error="ERROR: Failed to establish connection: TLS")
    monkeypatch.setattr(load_module, "look", lambda *_: (unreached,))
    monkeypatch.setattr(load_module, "UNREACHED_S", 0.0)
    account: Any = None
    assert load_module._followed(account, [ID]) == (unreached,)


def asked_until_it_is_so(_: str, check: Any, *__: object, **___: object) -> None:
    """As wait_until, without the waiting."""
    while True:
        try:
            check()
        except load_module.NotYet:
            continue
        return


def test_a_client_that_hangs_until_the_end_is_told_of_for_each_job(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        raise TimedOut("arcstat has not ended after 120 s.")

    monkeypatch.setattr(load_module, "submit", lambda *_: [ID])
    monkeypatch.setattr(load_module, "look", hang)
    assert load._thread is not None
    load._submit("job-1", sleeps_s=1)
    load._thread.start()
    problems = load.ended(more=False)
    assert {(problem.what, problem.ours) for problem in problems} == {(UNASKED, False)}
    assert all("arcstat has not ended" in problem.text for problem in problems)
