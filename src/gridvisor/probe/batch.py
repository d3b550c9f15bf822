"""Jobs of several kinds that go through the site at the same time: the probes wait for all of them only once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from gridvisor.app.site.account import Account
from gridvisor.app.site.job import ENDED, JobResult, JobWish, explained, fetch, follow, look, submit, work_folder
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.run.command import Command, script

MANY = 20
_ENDS_S = 300.0
_RUNS_S = 90.0
_CLIENT_S = 60.0
_LONG = "long"


@dataclass
class JobBatch:
    """The jobs, by kind: 'plain', 'failing', 'software', 'data' (if the site has storage), 'many' (if asked for), which
    are MANY, and 'long', which ends only when it is killed.

    They are followed aside, while other probes go on. The data job reads `data_in` from the storage element, whose
    content is `data`, and leaves it at `data_out`. When it could not be put there, `data_problem` says why.
    """

    account: Account
    folder: str
    data: str
    data_in: str = ""
    data_out: str = ""
    data_problem: str = ""
    ids: dict[str, list[str]] = field(default_factory=dict)
    _cancelled: Future[None] = field(init=False)
    _results: Future[dict[str, JobResult]] = field(init=False)
    _unwanted: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the jobs to their ends, in the time of the body: what they have not come to by then is left alone."""
        with ThreadPoolExecutor(max_workers=1) as aside:
            self._cancelled = aside.submit(self._cancel)
            self._results = aside.submit(self._follow)
            try:
                yield
            finally:
                self._unwanted.set()

    def ended(self, kind: str) -> list[JobResult]:
        """The jobs of that kind with their output, once all have ended but the long one. Raises SystemSaidNo for those
        that do not end: they are waited for once."""
        results = [self._results.result()[job_id] for job_id in self.ids[kind]]
        if stuck := [f"{one.job.id} {one.job.state}" for one in results if one.job.state not in ENDED]:
            raise SystemSaidNo(f"Not ended after {_ENDS_S:.0f} s: {', '.join(stuck)}")
        return results

    def cancel(self) -> str:
        """The id of the long job, once it was cancelled. Raises SystemSaidNo when it does not run, or cannot be."""
        self._cancelled.result()
        return self.ids[_LONG][0]

    def _cancel(self) -> None:
        """Have the long job cancelled once Slurm has it; it takes a while until a client sees that it is."""
        [job_id] = self.ids[_LONG]

        def check() -> None:
            [job] = look(self.account, [job_id])
            if job.state in ENDED:
                [job] = explained(self.account, [job])
                raise SystemSaidNo(f"The job was to run until it is cancelled: {job.state}. {job.error}".strip())
            if job.state not in ("Running", "Queuing"):
                raise NotYet(job.state)

        try:
            wait_until("the job does not run", check, Deadline.after(_RUNS_S), every_s=1, stop=self._unwanted)
        except TimedOut as error:
            raise SystemSaidNo(error.message) from error
        done = self.account.run(Command.of("arckill", "--keep", job_id), timeout_s=_CLIENT_S, check=False)
        if done.status:
            raise SystemSaidNo(f"arckill ended with {done.status}: {(done.stdout + done.stderr).strip()}")

    def _follow(self) -> dict[str, JobResult]:
        """What became of all jobs but the long one, by their ids; of none when nobody wants to know any more."""
        ids = [job_id for kind, ids in self.ids.items() if kind != _LONG for job_id in ids]
        with suppress(TimedOut):
            follow(self.account, ids, Deadline.after(_ENDS_S), stop=self._unwanted)
        if self._unwanted.is_set():
            return {}
        jobs = explained(self.account, look(self.account, ids))
        texts = fetch(self.account, self.folder, [job.id for job in jobs if job.state in ENDED])
        return {job.id: JobResult(job, *texts.get(job.id, ("", ""))) for job in jobs}

    def one(self, kind: str) -> JobResult:
        """The only job of that kind, once it has ended."""
        [result] = self.ended(kind)
        return result


@contextmanager
def submitted(account: Account, *, many: bool) -> Iterator[JobBatch]:
    """Submit the jobs, with the MANY or without; what they left on user interface and storage is removed in the end.

    Raises SystemSaidNo when the computing element does not take them.
    """
    with work_folder(account) as folder:
        batch = JobBatch(account, folder, data=f"data of {folder}\n")
        wishes = {
            # The first, so that it runs by the time that it is killed.
            _LONG: JobWish(("sleep", "600")),
            "plain": JobWish(
                ("sh", "-c", 'hostname; id -un; pwd; echo "$*"; echo to-stderr >&2', "sh", 'two  "words" $HOME')
            ),
            "failing": JobWish(("sh", "-c", "exit 7")),
            "software": JobWish(("/grid/software/hello-grid",)),
        }
        if many:
            wishes["many"] = JobWish(("hostname",), count=MANY)
        try:
            if stores := account.deployment.of_role("se"):
                base = f"root://{stores[0].fqdn}:1094//{account.user.vo}/{folder.rpartition('/')[2]}"
                batch.data_in, batch.data_out = f"{base}.in", f"{base}.out"
                put = script('cat >data && exec xrdcp --silent data "$1"', batch.data_in, stdin=batch.data.encode())
                stored = account.run(put, timeout_s=_CLIENT_S, check=False)
                if stored.status:  # the element would try for minutes to get it
                    batch.data_problem = stored.stderr.strip() or f"xrdcp ended with {stored.status}"
                else:
                    wishes["data"] = JobWish(("cp", "in", "out"))
            for kind, wish in wishes.items():
                files = {"in": batch.data_in} if kind == "data" else {}
                outputs = {"out": batch.data_out} if kind == "data" else {}
                batch.ids[kind] = submit(account, folder, wish, places=outputs, from_store=files, count=wish.count)
            with batch.followed():
                yield batch
        finally:
            if long := batch.ids.get(_LONG):
                account.run(
                    script('arckill --keep "$@" || :; arcclean --force "$@"', *long), timeout_s=_CLIENT_S, check=False
                )
            for url in filter(None, (batch.data_in, batch.data_out)):
                server, _, path = url.removeprefix("root://").partition("//")
                remove = Command.of("xrdfs", f"root://{server}", "rm", f"/{path}")
                account.run(remove, timeout_s=_CLIENT_S, check=False)
