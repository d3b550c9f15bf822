"""Jobs and transfers that go through the site while it is upgraded: none may be lost, run twice or come out wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.job import ENDED, Job, JobWish, explained, fetch, look, submit, work_folder
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError, SystemSaidNo, TimedOut
from gridvisor.core.units import counted
from gridvisor.run.command import Command, script
from gridvisor.trial.model import LoadJob

EVERY_S = 40.0  # each costs the computing element, whose one processor is upgraded meanwhile, some seconds
SLEEPS_S = 25  # with what is around it nearly EVERY_S: at most moments a job is in the batch system
MAY_REFUSE_S = 90.0  # a service that restarts refuses; one that goes on refusing is broken
ENDS_S = 180.0
UNREACHED_S = 20.0  # a computing element that does not answer for a moment is not gone
_CLIENT_S = 60.0
# What may be wrong with a site in use, as problems name it.
REFUSED, STUCK, LOST, AGAIN, OUTPUT, FAILED = (
    *("submission refused", "job stuck", "job lost", "job run again", "job's output wrong", "job failed"),
)
UNASKED = "jobs cannot be asked for"
NOT_STORED, OTHER, GONE = "transfer refused", "stored file is another", "stored file is gone"
JOBS = frozenset({REFUSED, STUCK, LOST, AGAIN, OUTPUT, FAILED, UNASKED})
FILES = frozenset({NOT_STORED, OTHER, GONE})

_NOT_REACHED = "Failed to establish connection"  # of arcstat 7.0; of a job that is gone it says something else
# Counts in the job's own folder how often it was begun: a job that is run again finds the line of the first time.
_JOB = 'echo begun >>begun; sleep "$2"; echo "$1 $(wc -l <begun) $(date +%s)"'
_NOT_UPLOADED = 9
_UPLOAD = f"""\
{{ cd "$1" && printf '%s\\n' "$3" >"$2" && xrdcp --silent --force "$2" "$4"; }} || exit {_NOT_UPLOADED}
xrdcp --silent "$4" - """


@dataclass(frozen=True, slots=True)
class Problem:
    """What must not be: `what` is its kind, `step` the one that was under way when it began. With `ours`, it is no
    word of the site's."""

    what: str
    step: str
    text: str
    ours: bool = False


@dataclass
class _Sent:
    """A job that the site has taken."""

    id: str
    word: str
    step: str
    began_s: float


@dataclass
class Load:
    """A context, in whose time a job is submitted and a file stored every EVERY_S seconds, and whenever a step begins.
    It is silent. No job is submitted that would wait for more than one other: in the end all are waited for.

    What the site refuses is tried again, for MAY_REFUSE_S at most: a client does so as well. It can `rest` for a while.
    """

    deployment: Deployment
    resting: bool = False
    _step: str = "begin"
    _told: list[LoadJob] = field(default_factory=list)
    _jobs: list[_Sent] = field(default_factory=list)
    _files: dict[str, str] = field(default_factory=dict)
    _problems: list[Problem] = field(default_factory=list)
    _refused: int = 0
    _number: int = 0
    _began_s: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)
    _abandoned: threading.Event = field(default_factory=threading.Event)
    _next: threading.Event = field(default_factory=threading.Event)
    _stack: ExitStack = field(default_factory=ExitStack)
    _thread: threading.Thread | None = None
    _last: str = ""

    def __enter__(self) -> Load:
        self.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._abandoned.set()
        self._stop.set()
        if kind is not None and not issubclass(kind, Exception):
            return  # whoever interrupts us does not wait for a client
        self._end()
        with suppress(GridvisorError):
            for url in self._files:
                server, _, name = url.removeprefix("root://").partition("//")
                remove = Command.of("xrdfs", f"root://{server}", "rm", f"/{name}")
                self._account.run(remove, timeout_s=_CLIENT_S, check=False)
            self._stack.close()

    def begin(self) -> None:
        """Begin, or go on after a `rest`; nothing on a site without a user interface and a computing element."""
        self.resting = False
        if not (self.deployment.of_role("ui") and self.deployment.of_role("ce")):
            return
        account = Account.of(self.deployment)
        account.require_proxy()
        self._slots = sum(node.vcpus for node in self.deployment.of_role("wn"))
        folder = self._stack.enter_context(work_folder(account))
        self._account, self._folder = account, folder
        self._stop.clear()
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="load", daemon=True)
        self._thread.start()

    def rest(self) -> None:
        """Wait for what is under way and judge it: a machine is about to be made anew, and jobs would end with it."""
        self.resting = True
        self._settle()
        with suppress(GridvisorError):
            self._stack.close()

    def step(self, name: str) -> None:
        """Tell what is being done now."""
        self._step = name
        self._next.set()

    def until_job_runs(self) -> None:
        """Return when a job is on a worker node, or when that has taken too long."""

        def check() -> None:
            ids = [sent.id for sent in self._jobs]
            if not ids or not any(job.state == "Running" for job in look(self._account, ids)):
                raise NotYet

        if self._thread is None:  # the site has nothing to run jobs on
            return
        with suppress(GridvisorError):
            wait_until("no job runs", check, Deadline.after(ENDS_S), every_s=1)

    def ended(self, *, more: bool = True) -> tuple[Problem, ...]:
        """Submit a last short job, store a last file, wait for jobs that are under way, and say what has gone wrong.

        Without `more`, nothing is submitted or stored any more: the site was found broken already.
        """
        if not more:
            self._abandoned.set()
        self._settle()
        return tuple(self._problems)

    @property
    def jobs(self) -> tuple[LoadJob, ...]:
        """The jobs that the site has taken, once they have been judged."""
        return tuple(self._told)

    @property
    def summary(self) -> str:
        """What was done, such as '12 jobs, 12 files; refused 3 times'."""
        refused = f"; refused {counted(self._refused, 'time')}" if self._refused else ""
        jobs = len(self._told) + len(self._jobs)
        return f"{counted(jobs, 'job')} and {counted(len(self._files), 'file')} meanwhile{refused}"

    def _settle(self) -> None:
        self._end()
        if self._jobs:
            try:
                self._judge_jobs()
            except GridvisorError as error:
                ours = not isinstance(error, (SystemSaidNo, TimedOut))  # a client that hangs is the site's
                self._problems.append(Problem(UNASKED, self._step, error.message, ours))
        self._judge_files()

    def _end(self) -> None:
        self._stop.set()
        self._next.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        is_last = False
        while not is_last:
            self._number += 1
            next_s = time.monotonic() + EVERY_S
            is_last = self._stop.is_set()
            if self._abandoned.is_set():
                return
            try:
                if is_last and self._slots:
                    self._submit(f"job-{self._number}", sleeps_s=1)
                elif would_run_soon(len(self._jobs), self._slots, time.monotonic() - self._began_s):
                    self._submit(f"job-{self._number}", sleeps_s=SLEEPS_S)
                if self.deployment.of_role("se"):
                    self._store(f"file-{self._number}")
            except Exception as error:  # whatever it is, the upgrade goes on, and it is told of
                self._problems.append(Problem("the load was broken off", self._step, repr(error), ours=True))
                return
            if not is_last:
                self._next.wait(max(0.0, next_s - time.monotonic()))
                self._next.clear()

    def _submit(self, word: str, *, sleeps_s: int) -> None:
        wish = JobWish(("sh", "-c", _JOB, "sh", word, str(sleeps_s)))
        step = self._step
        for _ in self._tries(REFUSED, step):
            try:
                began_s = time.time()
                [job_id] = submit(self._account, self._folder, wish)
            except (SystemSaidNo, TimedOut) as error:
                self._last = error.message
                continue
            self._jobs.append(_Sent(job_id, word, step, began_s))
            return

    def _store(self, name: str) -> None:
        [se, *_] = self.deployment.of_role("se")
        url = f"root://{se.fqdn}:1094//{self._account.user.vo}/{self._folder.rpartition('/')[2]}-{name}"
        content, step = f"{name} of {self._folder}", self._step
        transfer = script(f"{_UPLOAD}\n", self._folder, name, content, url)
        for _ in self._tries(NOT_STORED, step):
            try:
                done = self._account.run(transfer, timeout_s=_CLIENT_S, check=False)
            except TimedOut as error:  # xrdcp waits for a server that restarts, now and then for minutes
                self._last = error.message
                continue
            if done.status != _NOT_UPLOADED:  # it was taken, so it must be there, and is not stored once more
                self._files[url] = content
                transfer = Command.of("xrdcp", "--silent", url, "-")
            if done.status:
                self._last = (done.stderr or done.stdout).strip()
                continue
            if done.stdout.strip() != content:
                text = f"{url} was stored as {content!r} and read as {done.stdout.strip()!r}."
                self._problems.append(Problem(OTHER, step, text))
            return

    def _tries(self, what: str, step: str) -> Iterator[None]:
        """Once and again, until the time for refusals is over, or the load's."""
        until_s = time.monotonic() + MAY_REFUSE_S
        self._last = ""
        while True:
            yield
            self._refused += 1
            if time.monotonic() >= until_s:
                text = f"For {MAY_REFUSE_S:.0f} s. It said last:\n{self._last}"
                self._problems.append(Problem(what, step, text))
                return
            if self._abandoned.wait(1.0):
                return

    def _judge_jobs(self) -> None:
        ids = [sent.id for sent in self._jobs]
        jobs = {job.id: job for job in explained(self._account, _followed(self._account, ids))}
        gone = [job_id for job_id in ids if jobs[job_id].state in ("Finished", "Failed")]
        texts = fetch(self._account, self._folder, gone) if gone else {}
        for sent in self._jobs:
            output, _, ended = texts.get(sent.id, ("", ""))[0].strip().rpartition(" ")
            problem = judge(sent.word, jobs[sent.id], output)
            ended_s = float(ended) if ended.isdigit() else time.time()
            text = problem[1] if problem else ""
            self._told.append(LoadJob(sent.word, sent.began_s, max(0.0, ended_s - sent.began_s), text))
            if problem:
                text = f"{sent.id}, submitted during '{sent.step}': {problem[1]}"
                self._problems.append(Problem(problem[0], sent.step, text))
        self._jobs.clear()

    def _judge_files(self) -> None:
        for url, content in self._files.items():
            try:
                done = self._account.run(Command.of("xrdcp", "--silent", url, "-"), timeout_s=_CLIENT_S, check=False)
            except TimedOut as error:
                self._problems.append(Problem(GONE, self._step, f"{url}: {error.message}"))
                continue
            if done.status or done.stdout.strip() != content:
                said = done.stderr.strip() or f"it has {done.stdout.strip()!r}"
                self._problems.append(Problem(GONE, self._step, f"{url}: {said}"))


def would_run_soon(jobs: int, slots: int, since_s: float) -> bool:
    """Whether one more job, after `jobs` of SLEEPS_S since `since_s` seconds, has one at most before it."""
    return jobs * SLEEPS_S < slots * (since_s + SLEEPS_S)


def judge(word: str, job: Job, output: str) -> tuple[str, str] | None:
    """What is wrong with a job that was to print `word` and that it was begun once: the kind, and how it shows."""
    if job.state == "Unknown":
        if _NOT_REACHED in job.error:
            return UNASKED, job.error.partition("\n")[0]
        return LOST, f"the computing element does not know it. {job.error}".strip()
    if job.state not in ENDED:
        return STUCK, f"it is still {job.state} {ENDS_S:.0f} s after the last step"
    said, _, times = output.partition(" ")
    if job.state == "Finished" and said == word and times == "1":
        return None
    if said == word and times != "1":
        return AGAIN, f"it was begun {times} times"
    if job.state == "Finished":
        return OUTPUT, f"it printed {output!r}"
    return FAILED, f"{job.state}, exit code {job.exit_code}. {job.error}".strip()


def _followed(account: Account, ids: list[str]) -> tuple[Job, ...]:
    """The jobs once all have ended; as they are after ENDS_S, or when they cannot be asked for during UNREACHED_S.

    Raises TimedOut when the client has said nothing of them at all.
    """
    jobs: tuple[Job, ...] = ()
    reached_s = time.monotonic()

    def check() -> None:
        nonlocal jobs, reached_s
        jobs = look(account, ids)
        now_s = time.monotonic()
        if not any(_NOT_REACHED in job.error for job in jobs):
            reached_s = now_s
        elif now_s - reached_s < UNREACHED_S:
            raise NotYet
        if not {job.state for job in jobs} <= ENDED | {"Unknown"}:
            raise NotYet

    try:
        wait_until("jobs have not ended", check, Deadline.after(ENDS_S), every_s=2)
    except TimedOut:
        if not jobs:
            raise
    return jobs
