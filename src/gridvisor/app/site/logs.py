"""Everything that tells what happened on a site, in one file: consoles, journals, service logs, versions."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.status import site_status
from gridvisor.core.errors import GridvisorError
from gridvisor.core.parallel import each
from gridvisor.monitor.protocol import DomainRow, State
from gridvisor.run.command import script
from gridvisor.site.machine import Machine

_TIMEOUT_S = 120.0
# Text of a guest. Secrets are not among it: /etc is left out but for what gridvisor rendered without 'private'.
_COLLECT = """\
# Without a folder, 'cd ""' stays where it is, which is root's home; on a full disk there is none, but in /run.
folder=$(mktemp -d || mktemp -d -p /run) || exit
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit
journalctl --boot --no-pager -o short-precise >journal.txt 2>&1 || :
systemctl list-units --all --no-pager --full >units.txt 2>&1 || :
systemctl --failed --no-pager --full >failed.txt 2>&1 || :
# As systemd-analyze blame tells it, which takes seconds to do so (257 asks for each unit on its own).
systemctl show --property=Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic '*.service' | awk -F= '
    /^Id=/ {unit = $2} /^InactiveExit/ {began = $2}
    /^ActiveEnter/ && $2 > began {printf "%8.3f s  %s\\n", ($2 - began) / 1e6, unit}' | sort -rn >boot.txt
dpkg-query -W >packages.txt 2>&1 || :
{ uname -a; date; free; df -h; ip address; ip route; ps axo pid,ppid,user,rss,etime,args; } >machine.txt 2>&1 || :
mkdir -p log && cp -r /var/log/. log/ 2>/dev/null || :
rm -rf log/journal
tar -c .
"""


def collect_logs(deployment: Deployment, target: Path) -> None:
    """Write the bundle to `target`, whole or not at all, readable by its owner only.

    A machine that does not answer has its console and a note why; that is no failure.
    """
    rows = deployment.rows()
    with deployment.host.bus.step("collect", where=deployment.site.site):
        found = each(
            deployment.machines, lambda machine: list(_of_machine(machine, rows.get(machine.name), deployment))
        )
    root = f"{deployment.site.site}-logs"
    target = target.absolute()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            with tarfile.open(fileobj=file, mode="w:gz") as bundle:
                _add(bundle, f"{root}/status.txt", _status(deployment).encode())
                site_file = deployment.folder / "site.yaml"
                if site_file.exists():
                    _add(bundle, f"{root}/site.yaml", site_file.read_bytes())
                for machine, files in found.items():
                    for name, data in files:
                        _add(bundle, f"{root}/{machine.name}/{name}", data)
            Path(file.name).replace(target)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _of_machine(machine: Machine, row: DomainRow | None, deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    logs = deployment.host.places.state / "logs"
    for path in sorted(logs.glob(f"{deployment.domain_name(machine)}-*.console.log")):
        yield f"earlier-{path.name}", path.read_bytes()
    if row is None:
        yield "not-running.txt", b"It has no domain.\n"
        return
    yield "console.log", deployment.host.monitor.console_log(row.name)
    if row.state is not State.RUNNING:
        yield "not-running.txt", f"Its domain is {row.state}.\n".encode()
        return
    try:
        yield from _from_inside(machine, deployment)
    except GridvisorError as error:
        yield "not-reached.txt", f"{error.message}\n".encode()


def _from_inside(machine: Machine, deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    with tempfile.NamedTemporaryFile() as file:
        remote = "/run/gridvisor-logs.tar"
        ssh = deployment.ssh(machine)
        try:
            ssh.run(script(f"umask 077\n({_COLLECT}) >{remote}"), timeout_s=_TIMEOUT_S)
            ssh.get(remote, Path(file.name), timeout_s=_TIMEOUT_S)
        finally:
            ssh.run(script(f"rm -f {remote}"), timeout_s=_TIMEOUT_S, check=False)
        # What a guest sends is not trusted: it is not unpacked by its own word, nor put where that says.
        with tarfile.open(file.name, "r:") as inside:
            for member in inside:
                name = PurePosixPath(member.name.removeprefix("./"))
                if not member.isreg() or name.is_absolute() or ".." in name.parts:
                    continue
                if (data := inside.extractfile(member)) is not None:
                    yield str(name), data.read()


def _status(deployment: Deployment) -> str:
    return "".join(
        f"{one.name} {one.role} {one.state} {one.address} {one.held_mib}/{one.memory_mib} MiB\n"
        for one in site_status(deployment)
    )


def _add(bundle: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    bundle.addfile(info, io.BytesIO(data))
