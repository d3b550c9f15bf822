"""Jobs of several kinds that go through the site at the same time: the probes wait for all of them only once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gridvisor.app.site.account import Account
from gridvisor.app.site.job import Job, JobResult, JobWish, fetch, follow, submit, work_folder
from gridvisor.core.deadline import Deadline
from gridvisor.run.command import Command, script

MANY = 20
_TIMEOUT_S = 600.0
_CLIENT_S = 60.0


@dataclass
class JobBatch:
    """The jobs, by kind: 'plain', 'failing', 'software', 'data' (if the site has storage), and 'many' (if asked for),
    which are MANY.

    The data job reads `data_in` from the storage element, whose content is `data`, and leaves it at `data_out`.
    """

    account: Account
    folder: str
    data: str
    data_in: str = ""
    data_out: str = ""
    ids: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, list[JobResult]] = field(default_factory=dict)

    def ended(self, kind: str) -> list[JobResult]:
        """The jobs of that kind with their output, once all of them have ended. Raises TimedOut with their states."""
        if kind not in self.results:
            jobs = follow(self.account, self.ids[kind], Deadline.after(_TIMEOUT_S))
            texts = fetch(self.account, f"{self.folder}/{kind}", self.ids[kind])
            self.results[kind] = [JobResult(job, *texts[job.id]) for job in jobs]
        return self.results[kind]

    def one(self, kind: str) -> JobResult:
        """The only job of that kind, once it has ended."""
        [result] = self.ended(kind)
        return result

    def job_of(self, kind: str) -> Job:
        """The only job of that kind, as its submission left it."""
        [job_id] = self.ids[kind]
        return Job(job_id, "Accepted")


@contextmanager
def submitted(account: Account, *, many: bool) -> Iterator[JobBatch]:
    """Submit the jobs, with the MANY or without; what they left on user interface and storage is removed in the end.

    Raises SystemSaidNo when the computing element does not take them.
    """
    with work_folder(account) as folder:
        batch = JobBatch(account, folder, data=f"data of {folder}\n")
        wishes = {
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
                account.run(put, timeout_s=_CLIENT_S)
                wishes["data"] = JobWish(("cp", "in", "out"))
            for kind, wish in wishes.items():
                files = {"in": batch.data_in} if kind == "data" else {}
                outputs = {"out": batch.data_out} if kind == "data" else {}
                work = f"{folder}/{kind}"
                account.run(Command.of("mkdir", work), timeout_s=_CLIENT_S)
                batch.ids[kind] = submit(account, work, wish, places=outputs, from_store=files, count=wish.count)
            yield batch
        finally:
            for url in filter(None, (batch.data_in, batch.data_out)):
                server, _, path = url.removeprefix("root://").partition("//")
                remove = Command.of("xrdfs", f"root://{server}", "rm", f"/{path}")
                account.run(remove, timeout_s=_CLIENT_S, check=False)
