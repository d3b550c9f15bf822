"""How fast a site is: jobs, transfers, starts of services. Measured before and after, each time in the same way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.job import ENDED, Job, JobWish, explained, fetch, look, submit, work_folder
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.core.parallel import each
from gridvisor.run.command import script
from gridvisor.site.machine import Machine
from gridvisor.trial.model import Measure

SUBMISSION, TURNAROUND = "submission of a job", "job, from submission to its end"
UPLOAD, DOWNLOAD = "transfer to the storage element", "transfer from the storage element"
START = "start of "
MEASURES = "measures"  # the name of the step
_ROUNDS = 3
_FILE_MIB = 16
_JOBS_END_S = 180.0
_CLIENT_S = 120.0
_MAY_DIFFER_S = 8.0  # a service's start: all machines boot at once, and wait for one another
# A copy of a file of its own each time: up, down, and compared. Prints the nanoseconds of both ways.
_TRANSFERS = """\
cd "$1" && dd if=/dev/urandom of=big bs=1M count="$4" status=none || exit
for round in $(seq "$5"); do
    a=$(date +%s%N); xrdcp --silent big "$2/$3.$round" || exit
    b=$(date +%s%N); xrdcp --silent --force "$2/$3.$round" back || exit
    c=$(date +%s%N); cmp big back || exit
    echo $((b - a)) $((c - b))
    xrdfs "$2" rm "$3.$round" >&2 || exit
done
"""
# Of systemd.unit properties: when a unit began to start, and when it had, in microseconds.
_STARTS = "systemctl show --property=Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic"
_USED = "awk '/^MemTotal|^MemAvailable/ {kib = $2 - kib} END {print -kib}' /proc/meminfo; df --output=used / | tail -1"


def in_use(deployment: Deployment) -> tuple[Measure, ...]:
    """What a user waits for, several times: submission and turnaround of a job, and a file's way up and down.

    Nothing for a site without what it takes. Raises SystemSaidNo when the site does not do it.
    """
    if not deployment.of_role("ui"):
        return ()
    account = Account.of(deployment)
    account.require_proxy()
    with work_folder(account) as folder:
        found = _jobs(account, folder) if deployment.of_role("ce") else ()
        return found + (_transfers(account, folder) if deployment.of_role("se") else ())


def at_rest(deployment: Deployment) -> tuple[Measure, ...]:
    """What each machine has since it booted: how long its services took to start, memory and disk that are in use."""

    def of(machine: Machine) -> tuple[Measure, ...]:
        units = " ".join(machine.role.services)
        said = deployment.ssh(machine).run(script(f"{_USED}\n{_STARTS} {units}"), timeout_s=_CLIENT_S).stdout
        memory_kib, disk_kib, *rest = said.split("\n", 2)
        return (
            *(Measure(f"{START}{unit} on {machine.name}", "s", (s,)) for unit, s in parse_starts(rest[0]).items()),
            Measure(f"memory in use on {machine.name}", "MiB", (int(memory_kib) / 1024,)),
            Measure(f"disk in use on {machine.name}", "MiB", (int(disk_kib) / 1024,)),
        )

    return tuple(measure for measures in each(deployment.machines, of).values() for measure in measures)


def parse_starts(text: str) -> dict[str, float]:
    """Seconds that each unit took from its begin until it was active, of what `systemctl show` prints of them."""
    found = {}
    for block in text.strip().split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        began, active = (int(facts.get(f"{name}TimestampMonotonic", 0)) for name in ("InactiveExit", "ActiveEnter"))
        if 0 < began <= active:
            found[facts["Id"]] = (active - began) / 1e6
    return found


def joined(first: Sequence[Measure], second: Sequence[Measure]) -> tuple[Measure, ...]:
    """The measures with the samples of both, in the order of the first."""
    samples: dict[tuple[str, str], tuple[float, ...]] = {}
    for one in (*first, *second):
        samples[one.what, one.unit] = samples.get((one.what, one.unit), ()) + one.samples
    return tuple(Measure(what, unit, values) for (what, unit), values in samples.items())


def slower(before: Sequence[Measure], after: Sequence[Measure]) -> dict[str, str]:
    """What takes longer, well outside the spread of what it took before: by what it is, how it shows.

    That is when the medians differ by more than half of that before, and by more than four times the median deviation
    from it; one slow sample of three says nothing. A start of a service may differ more from boot to boot, and is slow
    when it was so each time.
    """
    had = {(one.what, one.unit): _times(one) for one in before}
    found = {}
    for one in after:
        was, now = had.get((one.what, one.unit)), _times(one)
        if not was or not now:
            continue
        usual = median(was)
        deviation = median(abs(value - usual) for value in was)
        margin = max(usual / 2, 4 * deviation, _MAY_DIFFER_S if one.what.startswith(START) else 0.0)
        least = min(now) if one.what.startswith(START) else median(now)
        if least > usual + margin:
            found[one.what] = f"It took {_told(was)} before, and takes {_told(now)} with the candidate" + _per(one.unit)
    return found


def _times(measure: Measure) -> tuple[float, ...]:
    """Its samples as times, the more the worse; none for what is no matter of time."""
    if measure.unit == "s":
        return measure.samples
    return tuple(1 / rate for rate in measure.samples if rate > 0) if measure.unit == "MiB/s" else ()


def _told(times: Sequence[float]) -> str:
    return f"{median(times):.3g} s ({min(times):.3g} to {max(times):.3g})"


def _per(unit: str) -> str:
    return " for a MiB." if unit == "MiB/s" else "."


def _jobs(account: Account, folder: str) -> tuple[Measure, ...]:
    began: dict[str, float] = {}
    submissions: list[float] = []
    for _ in range(_ROUNDS):
        start_s = time.monotonic()
        try:
            [job_id] = submit(account, folder, JobWish(("true",)))
        except TimedOut as error:  # the worst of slow-downs
            raise SystemSaidNo(error.message, hint=error.hint) from error
        submissions.append(time.monotonic() - start_s)
        began[job_id] = start_s
    took: dict[str, float] = {}
    bad: dict[str, Job] = {}

    def check() -> None:
        left = [job_id for job_id in began if job_id not in took]
        jobs = look(account, left)
        took.update({job.id: time.monotonic() - began[job.id] for job in jobs if job.state in ENDED})
        bad.update({job.id: job for job in jobs if job.state in ENDED - {"Finished"}})
        if len(took) < len(began):
            raise NotYet(", ".join(f"{job.id} is {job.state}" for job in jobs if job.state not in ENDED))

    try:
        wait_until("jobs do not end", check, Deadline.after(_JOBS_END_S), every_s=0.5)
    except TimedOut as error:
        raise SystemSaidNo(error.message) from error
    if bad:
        told = [f"{job.id} {job.state}. {job.error}" for job in explained(account, list(bad.values()))]
        raise SystemSaidNo("Of jobs that do nothing, these did not finish:\n" + "\n".join(told))
    fetch(account, folder, list(began))
    return Measure(SUBMISSION, "s", tuple(submissions)), Measure(TURNAROUND, "s", tuple(took.values()))


def _transfers(account: Account, folder: str) -> tuple[Measure, ...]:
    [se, *_] = account.deployment.of_role("se")
    server, path = f"root://{se.fqdn}:1094", f"/{account.user.vo}/{folder.rpartition('/')[2]}"
    words = (folder, server, path, str(_FILE_MIB), str(_ROUNDS))
    try:
        done = account.run(script(_TRANSFERS, *words), timeout_s=_CLIENT_S, check=False)
    except TimedOut as error:
        text = f"{_ROUNDS} files of {_FILE_MIB} MiB are not copied to {server} and back in {_CLIENT_S:.0f} s."
        raise SystemSaidNo(text) from error
    if done.status:
        raise SystemSaidNo(f"A file of {_FILE_MIB} MiB cannot be copied to {server} and back: {done.stderr.strip()}")
    ways = zip(*(map(int, line.split()) for line in done.stdout.splitlines()), strict=True)
    up, down = (tuple(_FILE_MIB / (ns / 1e9) for ns in way) for way in ways)
    return Measure(UPLOAD, "MiB/s", up), Measure(DOWNLOAD, "MiB/s", down)
