"""Jobs of several kinds that go through the site at the same time: the probes wait for all of them only once."""

from __future__ import annotations

from collections.abc import Iterator
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

    The data job reads `data_in` from the storage element, whose content is `data`, and leaves it at `data_out`. When it
    could not be put there, `data_problem` says why.
    """

    account: Account
    folder: str
    data: str
    data_in: str = ""
    data_out: str = ""
    data_problem: str = ""
    ids: dict[str, list[str]] = field(default_factory=dict)
    _results: dict[str, JobResult] = field(default_factory=dict)
    _cancelled: bool = False

    def ended(self, kind: str) -> list[JobResult]:
        """The jobs of that kind with their output, once all have ended but the long one. Raises SystemSaidNo for those
        that do not end: they are waited for once."""
        if not self._results:
            self._wait()
        if stuck := [self._results[one].job for one in self.ids[kind] if self._results[one].job.state not in ENDED]:
            raise SystemSaidNo(
                f"Not ended after {_ENDS_S:.0f} s: {', '.join(f'{job.id} {job.state}' for job in stuck)}"
            )
        return [self._results[job_id] for job_id in self.ids[kind]]

    def _wait(self) -> None:
        ids = [job_id for kind, ids in self.ids.items() if kind != _LONG for job_id in ids]
        with suppress(SystemSaidNo):  # whoever asks for it hears of it
            self.cancel()
        with suppress(TimedOut):
            follow(self.account, ids, Deadline.after(_ENDS_S))
        jobs = explained(self.account, look(self.account, ids))
        texts = fetch(self.account, self.folder, [job.id for job in jobs if job.state in ENDED])
        self._results = {job.id: JobResult(job, *texts.get(job.id, ("", ""))) for job in jobs}

    def cancel(self) -> str:
        """Have the long job cancelled once Slurm has it, and give back its id.

        It takes a while until a client sees that it is; meanwhile others can be looked at. Raises SystemSaidNo when it
        does not run, or cannot be cancelled.
        """
        [job_id] = self.ids[_LONG]
        if not self._cancelled:
            self._until_in_slurm(job_id)
            done = self.account.run(Command.of("arckill", "--keep", job_id), timeout_s=_CLIENT_S, check=False)
            if done.status:
                raise SystemSaidNo(f"arckill ended with {done.status}: {(done.stdout + done.stderr).strip()}")
            self._cancelled = True
        return job_id

    def _until_in_slurm(self, job_id: str) -> None:
        def check() -> None:
            [job] = look(self.account, [job_id])
            if job.state in ENDED:
                [job] = explained(self.account, [job])
                raise SystemSaidNo(f"The job was to run until it is cancelled: {job.state}. {job.error}".strip())
            if job.state not in ("Running", "Queuing"):
                raise NotYet(job.state)

        try:
            wait_until("the job does not run", check, Deadline.after(_RUNS_S), every_s=1)
        except TimedOut as error:
            raise SystemSaidNo(error.message) from error

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
            yield batch
        finally:
            if long := batch.ids.get(_LONG):
                account.run(
                    script('arckill --keep "$@"; arcclean --force "$@"', *long), timeout_s=_CLIENT_S, check=False
                )
            for url in filter(None, (batch.data_in, batch.data_out)):
                server, _, path = url.removeprefix("root://").partition("//")
                remove = Command.of("xrdfs", f"root://{server}", "rm", f"/{path}")
                account.run(remove, timeout_s=_CLIENT_S, check=False)
