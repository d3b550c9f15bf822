"""Grid jobs as a user has them: submitted, followed and fetched by ARC's own client on the user interface."""

from __future__ import annotations

import io
import re
import shlex
import tarfile
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import Refused, SystemSaidNo, TimedOut, ToolOutput
from gridvisor.core.units import counted
from gridvisor.run.command import Command, script

ENDED = frozenset({"Finished", "Failed", "Killed", "Deleted"})  # of arcstat(1): the job changes no more
_OURS = "gridvisor-"  # begins the names of our own files in the user's folder, and in the job's
_COMMAND = f"{_OURS}command"
_STREAMS = ("stdout", "stderr")
_CLIENT_S = 120.0
_JOBS = '{"jobs": ['
_LAST_LINES = 8
_DIAGNOSE = """\
proxy=/tmp/x509up_u$(id -u)
exec curl --silent --fail --max-time 20 --cert "$proxy" --key "$proxy" --cacert "$proxy" \
    --capath /etc/grid-security/certificates "$1"
"""
_SUBMIT = """\
cd "$1" && cat >"$2" && printf '%s\\n' "$3" >gridvisor-job.xrsl && shift 3 && exec arcsub "$@" gridvisor-job.xrsl
"""
_LOOK_EVERY_S = 1.0  # each look costs the computing element a TLS handshake


@dataclass(frozen=True, slots=True)
class JobWish:
    """What is to be run: `command` on a worker node, `count` times, with copies of `inputs` in its working folder.

    Of what it leaves, `outputs` (names in its working folder) go to the storage element.
    """

    command: tuple[str, ...]
    user: str | None = None
    count: int = 1
    inputs: tuple[Path, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as arcstat(1) sees it. `exit_code` is the command's own, None as long as it has none."""

    id: str
    state: str
    exit_code: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that has ended: its output, and the exit code to give on: its own, or 1 when it has none."""

    job: Job
    stdout: str
    stderr: str
    stored: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """0 if the job has done its work."""
        if self.job.state == "Finished":
            return self.job.exit_code or 0
        return self.job.exit_code or 1


def run_jobs(deployment: Deployment, wish: JobWish, *, timeout_s: float) -> tuple[JobResult, ...]:
    """Submit, follow until the last job has ended, and bring the output back; `timeout_s` is for a host of usual pace.

    Raises Refused for a wish that cannot be one, SystemSaidNo when the site does not take the jobs or give them back,
    and TimedOut with the state of each.
    """
    _require_sense(deployment, wish)
    account, bus = Account.of(deployment, wish.user), deployment.host.bus
    deadline = Deadline.after(timeout_s * deployment.host.pace().times)
    with work_folder(account) as folder:
        with bus.step("submit", where=account.machine.name):
            account.require_proxy()
            for path in wish.inputs:
                account.run(script('cat >"$1"', f"{folder}/{path.name}", stdin=path.read_bytes()), timeout_s=_CLIENT_S)
            places = [stored(deployment, account, folder, wish.outputs, number) for number in range(wish.count)]
            if wish.outputs:  # each job has places of its own there, so each is a description of its own
                ids = [one for place in places for one in submit(account, folder, wish, places=place)]
            else:
                ids = submit(account, folder, wish, count=wish.count)
        with bus.step("run", where=f"{wish.count} jobs" if wish.count > 1 else ids[0].rsplit("/", 1)[-1]):
            jobs = follow(account, ids, deadline)
        with bus.step("fetch", where=account.machine.name):
            jobs = explained(account, jobs)
            texts = fetch(account, folder, ids)
    return tuple(
        JobResult(job, *texts[job.id], stored=tuple(place.values()) if job.state == "Finished" else ())
        for job, place in zip(jobs, places, strict=True)
    )


def description(wish: JobWish, places: Mapping[str, str], *, from_store: Mapping[str, str] | None = None) -> str:
    """The wish as a job description in xRSL (its reference: NORDUGRID-MANUAL-4).

    `places` maps outputs, `from_store` more inputs, to URLs from and to which the computing element copies them.
    """
    sources = {_COMMAND: ""} | {path.name: "" for path in wish.inputs} | dict(from_store or {})
    files = "".join(f"({_quoted(name)} {_quoted(url)})" for name, url in sources.items())
    outputs = "".join(f"({_quoted(name)} {_quoted(url)})" for name, url in places.items())
    return "".join(
        (
            f'&(executable={_quoted(_COMMAND)})(jobname="gridvisor")(stdout="stdout")(stderr="stderr")',
            f"(inputFiles={files})",
            f"(outputFiles={outputs})" if outputs else "",
        )
    )


def command_file(wish: JobWish) -> bytes:
    """The wish's command as the file that the job runs.

    Not as arguments in the description: A-REX's job scripts put those in double quotes, in which the shell of the
    worker node expands `$` (lrms_common.sh of ARC 7.0).
    """
    return f"#!/bin/sh\nexec {shlex.join(wish.command)}\n".encode(errors="surrogateescape")


def stored(
    deployment: Deployment, account: Account, folder: str, outputs: Sequence[str], number: int
) -> dict[str, str]:
    """Where on the storage element each output of job `number` goes: a URL for its name."""
    if not outputs:
        return {}
    [se, *_] = deployment.of_role("se")
    base = f"root://{se.fqdn}:1094//{account.user.vo}/jobs/{PurePosixPath(folder).name}/{number + 1}"
    return {name: f"{base}/{name}" for name in outputs}


def submit(
    account: Account,
    folder: str,
    wish: JobWish,
    *,
    places: Mapping[str, str] | None = None,
    from_store: Mapping[str, str] | None = None,
    count: int = 1,
) -> list[str]:
    """The ids (URLs) of `count` jobs of the wish, whose inputs are in `folder`; for the rest see `description`.

    Raises SystemSaidNo unless all were taken.
    """
    [ce, *_] = account.deployment.of_role("ce")
    text = description(wish, places or {}, from_store=from_store)
    # No look at what the element can do before: it is the only one, and has to take the job or say why not.
    words = ["-C", f"https://{ce.fqdn}:443/arex", "-T", "arcrest", "-Q", "NONE"]
    if count > 1:
        words += ["--instances-min", str(count), "--instances-max", str(count)]
    submission = script(_SUBMIT, folder, _COMMAND, text, *words, stdin=command_file(wish))
    said = account.run(submission, timeout_s=_CLIENT_S, check=False)
    ids = [line.rpartition(" ")[2] for line in said.stdout.splitlines() if line.startswith("Job submitted with jobid:")]
    if said.status or len(ids) != count:
        last = "\n".join(f"    {line}" for line in (said.stderr + said.stdout).strip().splitlines()[:12])
        raise SystemSaidNo(
            f"'{ce.name}' took {len(ids)} of {counted(count, 'job')}. arcsub said:\n{last}",
            hint=f"gridvisor ssh {ce.name} -- tail /var/log/arc/ws-interface.log",
        )
    return ids


def look(account: Account, ids: Sequence[str]) -> tuple[Job, ...]:
    """The jobs as they are now, in the order of `ids`."""
    said = account.run(Command.of("arcstat", "-J", *ids), timeout_s=_CLIENT_S, check=False)
    found = {job.id: job for job in parse_jobs(said.stdout)}
    warnings = (said.stdout.partition(_JOBS)[0] + said.stderr).strip()
    return tuple(found.get(job_id, Job(job_id, "Unknown", error=warnings)) for job_id in ids)


def parse_jobs(text: str) -> tuple[Job, ...]:
    """The jobs in what `arcstat -J` prints, but for those that cannot be read. Raises ToolOutput when it is no list.

    The list looks like JSON, but strings stand in it as they are, with quotes, backslashes and line breaks
    (Job::SaveToStreamJSON of ARC 7.0). So it is read by its lines; a job's errors are the last that it has.
    """
    if not text:
        return ()
    _, begins, listed = text.partition(_JOBS)
    if not begins:
        raise ToolOutput(f"arcstat -J printed what is no list of jobs: {text[:200]}")
    jobs = [job for one in re.split(r'^(?=\{\n "id": ")', listed, flags=re.MULTILINE) if (job := _job(one))]
    times = Counter(job.id for job in jobs)  # an error may look like a job; which of the two it is cannot be told
    return tuple(job for job in jobs if times[job.id] == 1)


def _job(text: str) -> Job | None:
    head, _, errors = text.partition('\n "jobError": [\n')
    facts = dict(re.findall(r'^ "(id|state|exitCode)": "?(.+?)"?,?$', head, re.MULTILINE))
    exit_code = facts.get("exitCode")
    if not facts.keys() >= {"id", "state"} or (exit_code is not None and not re.fullmatch(r"-?[0-9]+", exit_code)):
        return None
    error = errors.rpartition("\n]\n}")[0].removeprefix('"').removesuffix('"').replace('",\n"', "; ")
    return Job(facts["id"], facts["state"], None if exit_code is None else int(exit_code), error)


def follow(
    account: Account, ids: Sequence[str], deadline: Deadline, *, stop: threading.Event | None = None
) -> tuple[Job, ...]:
    """The jobs once all have ended; what changes is told on the way. Raises TimedOut with their states, and as soon as
    `stop` is set."""
    bus, shown = account.deployment.host.bus, ""

    def check() -> tuple[Job, ...]:
        nonlocal shown
        jobs = look(account, ids)
        states = Counter(job.state for job in jobs)
        says = ", ".join(f"{count} {state}" if len(ids) > 1 else state for state, count in sorted(states.items()))
        if says != shown:
            bus.note(says, where="job" if len(ids) == 1 else "jobs")
            shown = says
        if not states.keys() <= ENDED:
            raise NotYet(says)
        return jobs

    try:
        return wait_until("jobs have not ended", check, deadline, every_s=_LOOK_EVERY_S, stop=stop)
    except TimedOut as error:
        site, user = account.deployment.site.site, account.user.name
        hint = f"they go on; look: gridvisor ssh -s {site} -l {user} {account.machine.name} -- arcstat -a"
        raise TimedOut(error.message, hint=hint) from None


def explained(account: Account, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The jobs; those that failed before they ran with what A-REX's scripts have said of them last, if it is to be had.

    To be asked before they are fetched: then A-REX forgets it. ('diagnose' of ARC's REST interface, in its technical
    description.)
    """
    return tuple(
        replace(job, error=f"{job.error}\n{said}".strip())
        if job.state == "Failed" and job.exit_code is None and (said := _last_said(account, job.id))
        else job
        for job in jobs
    )


def _last_said(account: Account, job_id: str) -> str:
    asked = account.run(script(_DIAGNOSE, f"{job_id}/diagnose/errors"), timeout_s=_CLIENT_S, check=False)
    lines = [line for line in asked.stdout.splitlines() if line.strip()] if asked.status == 0 else []
    return "\n".join(f"    | {line}" for line in lines[-_LAST_LINES:])


def fetch(account: Account, folder: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """stdout and stderr of each job, which is then gone from the computing element; empty for what it has not left."""
    source = (
        'cd "$1" && shift && mkdir gridvisor-out\n'
        'arcget -D gridvisor-out "$@" >gridvisor-log 2>&1 || :\n'  # 1 when any of the jobs gave nothing back
        "tar -cf gridvisor-out.tar gridvisor-out && cat gridvisor-log"
    )
    said = account.run(script(source, folder, *ids), timeout_s=_CLIENT_S + len(ids), check=False)
    texts = {}
    with tempfile.TemporaryDirectory() as mine:
        local = Path(mine) / "out.tar"
        account.deployment.ssh(account.machine).get(f"{folder}/gridvisor-out.tar", local, timeout_s=_CLIENT_S)
        with tarfile.open(fileobj=io.BytesIO(local.read_bytes())) as bundle:
            names = set(bundle.getnames())
            for job_id in ids:
                left = f"gridvisor-out/{job_id.rsplit('/', 1)[-1]}"
                if left not in names:
                    raise SystemSaidNo(f"The job {job_id} gave nothing back. arcget said:\n{said.stdout.strip()}")
                texts[job_id] = (_text(bundle, f"{left}/stdout"), _text(bundle, f"{left}/stderr"))
    return texts


def _text(bundle: tarfile.TarFile, name: str) -> str:
    try:
        file = bundle.extractfile(name)
    except KeyError:
        return ""
    return file.read().decode("utf-8", "replace") if file else ""


@contextmanager
def work_folder(account: Account) -> Iterator[str]:
    """A folder of the user's on the user interface, for the time of one command."""
    folder = account.run(Command.of("mktemp", "-d", f"{account.home}/job-XXXXXXXX"), timeout_s=60).stdout.strip()
    try:
        yield folder
    finally:
        account.run(Command.of("rm", "-rf", "--", folder), timeout_s=60, check=False)


def _quoted(word: str) -> str:
    """A word of xRSL: in double quotes, those inside it doubled."""
    escaped = word.replace('"', '""')
    return f'"{escaped}"'


def _require_sense(deployment: Deployment, wish: JobWish) -> None:
    if not wish.command:
        raise Refused("There is no command to run.", hint="gridvisor run -- hostname")
    if not deployment.of_role("ce"):
        raise Refused(f"The site '{deployment.site.site}' has no computing element.", hint="add a machine: ce: {}")
    if wish.outputs and not deployment.of_role("se"):
        raise Refused(f"The site '{deployment.site.site}' has no storage element for outputs.", hint="add: se: {}")
    taken = dict.fromkeys(_STREAMS, "what its command prints")
    for path in wish.inputs:
        if not path.is_file():
            raise Refused(f"There is no file '{path}'.")
        if path.name.startswith(_OURS):
            raise Refused(f"'{path}' has a name that gridvisor's own files have.", hint="give it another name")
        if path.name in taken:
            raise Refused(
                f"In the job's folder '{path}' would be '{path.name}', and so would be {taken[path.name]}.",
                hint="give one of them another name",
            )
        taken[path.name] = f"'{path}'"
    for name in wish.outputs:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise Refused(f"'{name}' is not the name of a file in the job's own folder.")
