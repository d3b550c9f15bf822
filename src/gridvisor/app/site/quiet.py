"""Guests that hold still together: their file systems are whole on the disk, and nothing is written for a while."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import SystemSaidNo
from gridvisor.identity.keys import machine_id
from gridvisor.run.command import Command, script
from gridvisor.run.piped import next_line, piped
from gridvisor.site.machine import Machine

LONGEST_S = 30  # then guests go on by themselves, whatever has become of us
_SETTLE_S = 120.0
NOTE = "/var/lib/gridvisor/disk-of"  # on the disk of a machine that was frozen once: its id


@contextmanager
def quiet(machines: Sequence[Machine], deployment: Deployment) -> Iterator[None]:
    """Freeze the file systems of all these machines, which run, for the time of the body.

    A guest goes on when we end, however we do, and after LONGEST_S at most. Raises SystemSaidNo when one cannot be
    frozen, or went on too soon: what was copied meanwhile is worth nothing then.
    """
    with ExitStack() as stack:
        frozen = [(machine, stack.enter_context(_freezing(machine, deployment))) for machine in machines]
        for machine, process in frozen:
            said = next_line(process, LONGEST_S)
            if said != "frozen":
                raise SystemSaidNo(f"'{machine.name}' cannot hold still: {said or 'it does not answer'}")
        yield
        for _, process in frozen:
            assert process.stdin is not None
            process.stdin.close()
        for machine, process in frozen:
            if (said := next_line(process, LONGEST_S)) != "in time":
                raise SystemSaidNo(f"'{machine.name}' went on before all was copied: {said or 'it does not answer'}")


def settle(machine: Machine, deployment: Deployment) -> None:
    """Have a machine that runs write all that is dirty to its disks, and the note of whose they are; it goes on.

    Raises SystemSaidNo when it cannot.
    """
    ssh = deployment.ssh(machine, connect_timeout_s=5)
    said = ssh.run(_script(machine, deployment), timeout_s=_SETTLE_S, check=False).stdout.split("\n")
    if "in time" not in said:
        raise SystemSaidNo(f"'{machine.name}' cannot write what it has to its disks: {' '.join(said).strip()}")


def _script(machine: Machine, deployment: Deployment) -> Command:
    """What a guest runs to hold still until its standard input ends."""
    source = files("gridvisor.app.site").joinpath("quiet.sh").read_text()
    return script(source, str(LONGEST_S), machine_id(deployment.folder_of(machine)))


@contextmanager
def _freezing(machine: Machine, deployment: Deployment) -> Iterator[subprocess.Popen[str]]:
    ssh = deployment.ssh(machine, connect_timeout_s=5)
    argv = (*deployment.network.way.enter, *ssh.local(_script(machine, deployment)).argv)
    with piped(argv, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()  # sshd then closes the guest's stdin, and it goes on
