"""Waiting until a machine's services answer: one script in the guest tells us all the way."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError, SystemSaidNo, TimedOut
from gridvisor.monitor.last_words import last_words
from gridvisor.monitor.protocol import State
from gridvisor.run.command import Command, Unreachable, script
from gridvisor.run.local import clean_environment
from gridvisor.site.machine import Machine

_SSH_FAILED = 255
_TRY_AGAIN_S = 0.3
_ASK_S = 5.0
_LOOK_S = 1.0  # how long a guest may be silent before it is looked at whether it is still there, on a usual host


class NotReady(TimedOut):
    """A machine's services do not answer in time."""


class Halted(GridvisorError):
    """The wait was given up since another machine has failed."""


def wait_until_ready(
    machine: Machine,
    deployment: Deployment,
    deadline: Deadline,
    halt: threading.Event | None = None,
    *,
    again: bool = False,
) -> None:
    """Return when sshd, all units and all checks of the machine's role have answered.

    With `again`, units that have failed or were stopped are started once more: what they failed of may be mended.
    Raises SystemSaidNo at once when a unit fails or the guest ends, NotReady with what was waited for at the deadline,
    and Halted soon after `halt` is set.
    """
    bus, name = deployment.host.bus, machine.name
    said: list[str] = []
    waiting = "sshd"

    def require_time() -> None:
        if halt is not None and halt.is_set():
            raise Halted(f"'{name}' was left while it waited for {waiting}.")
        if deadline.left_s <= 0:
            raise NotReady(f"'{name}' still waits for {waiting}.", hint=_hint(machine, deployment))

    while True:
        with _watch(machine, deployment, again) as (process, lines):
            for line in lines:
                require_time()
                if line is None:
                    _require_alive(machine, deployment)
                elif not line and not said:
                    continue  # it looks again
                elif line == "ready":
                    return
                elif line.startswith("waiting"):
                    waiting = line.removeprefix("waiting").removeprefix(" for").lstrip(": ")
                    bus.note(f"waits for {waiting}", where=name)
                else:
                    said.append(line)
            status = process.wait()
        if said and said[0].startswith("failed "):
            unit = said[0].removeprefix("failed ")
            text = "\n".join(f"    {line}" for line in said[1:])
            raise SystemSaidNo(f"On '{name}' the unit '{unit}' has failed:\n{text}", hint=_hint(machine, deployment))
        if status != _SSH_FAILED:
            raise GridvisorError(f"What watches '{name}' ended with {status}: {' '.join(said)[-500:]}")
        said.clear()  # sshd is not there yet
        _require_alive(machine, deployment)
        require_time()
        select.select([], [], [], _TRY_AGAIN_S)


def wait_for_login(
    machine: Machine, deployment: Deployment, deadline: Deadline, halt: threading.Event | None = None
) -> None:
    """Return when the machine's sshd lets us in: a machine that runs may still be booting, as after a power cut.

    Raises SystemSaidNo when the guest ends meanwhile, TimedOut at the deadline, Halted soon after `halt` is set.
    """
    ssh = deployment.ssh(machine, connect_timeout_s=1)

    def lets_us_in() -> None:
        _require_alive(machine, deployment)
        if halt is not None and halt.is_set():
            raise Halted(f"'{machine.name}' was left while it waited for sshd.")
        try:
            ssh.run(Command.of("true"), timeout_s=max(_ASK_S, deployment.network.way.patience_s))
        except (Unreachable, TimedOut) as error:
            raise NotYet(error.message) from error

    wait_until(f"sshd of '{machine.name}'", lets_us_in, deadline, every_s=_TRY_AGAIN_S)


def ailment(machine: Machine, deployment: Deployment) -> str:
    """What of a machine that was ready is so no more, such as 'bdii.service is failed'; empty if all its units run.

    One look at the units: whether they also answer costs seconds to ask, which `wait_until_ready` and probes take.
    """
    units = machine.role.services
    if not units:
        return ""
    try:
        ssh = deployment.ssh(machine, connect_timeout_s=1)
        said = ssh.run(
            Command.of("systemctl", "is-active", *units),
            timeout_s=max(_ASK_S, deployment.network.way.patience_s),
            check=False,
        )
    except GridvisorError:
        return "it does not answer"
    states = said.stdout.split()
    if len(states) != len(units):
        return "it does not answer"
    return ", ".join(
        f"{unit} is {state}" for unit, state in zip(units, states, strict=True) if state not in ("active", "reloading")
    )


@contextmanager
def _watch(
    machine: Machine, deployment: Deployment, again: bool
) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[str | None]]]:
    words = ["again" if again else "", " ".join(machine.role.services)]
    for check in machine.role.ready:
        words += [check.what, check.command]
    source = files("gridvisor.app.site").joinpath("ready.sh").read_text()
    ssh = deployment.ssh(machine, connect_timeout_s=1)
    process = subprocess.Popen(
        (*deployment.network.way.enter, *ssh.local(script(source, *words)).argv),
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            yield process, _lines(process, _look_s(deployment))
        finally:
            process.kill()


def _lines(process: subprocess.Popen[bytes], look_s: float) -> Iterator[str | None]:
    """Each line as it comes; None whenever `look_s` passed without one."""
    assert process.stdout is not None
    fd, rest = process.stdout.fileno(), b""
    while True:
        if not select.select([fd], [], [], look_s)[0]:
            yield None
            continue
        data = os.read(fd, 65536)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)


def _require_alive(machine: Machine, deployment: Deployment) -> None:
    lately = deployment.rows_lately(_look_s(deployment)).get(machine.name)
    if lately is not None and lately.state is not State.CRASHED:
        return
    row = deployment.rows().get(machine.name)  # it may have been made since that look
    if row is not None and row.state is not State.CRASHED:
        return
    said = "its console log is gone"
    if row is not None:
        said = last_words(deployment.host.monitor.console_log(row.name).decode(errors="replace"))
    raise SystemSaidNo(f"The machine '{machine.name}' {'crashed' if row else 'ended'}. It said last:\n{said}")


def _look_s(deployment: Deployment) -> float:
    return _LOOK_S * deployment.host.pace().times


def _hint(machine: Machine, deployment: Deployment) -> str:
    return f"it is kept for a look: gridvisor ssh -s {deployment.site.site} {machine.name}"
