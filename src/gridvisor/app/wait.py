"""Waiting for guests, with an early way out when one has crashed."""

from __future__ import annotations

from collections.abc import Sequence

from gridvisor.app.host import Host
from gridvisor.app.login import ssh_command
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import SystemSaidNo, TimedOut
from gridvisor.monitor.last_words import last_words
from gridvisor.monitor.protocol import NoSuchDomain, State
from gridvisor.run.command import Command
from gridvisor.run.local import Local


def wait_for_ssh(host: Host, name: str, *, timeout_s: float) -> None:
    """Return when the guest's sshd lets us in; `timeout_s` is for a host of usual pace.

    Raises Refused for a domain without a network interface, SystemSaidNo with the console's last lines when the guest
    ends meanwhile, TimedOut at the deadline.
    """
    argv = ssh_command(host, name, ["true"], connect_s=1)

    def answers() -> None:
        try:
            if Local().run(Command(tuple(argv)), timeout_s=max(10, patience_s + 5), check=False).status == 0:
                return
        except TimedOut as error:
            raise NotYet("sshd has begun to let us in") from error
        row = next((row for row in host.monitor.list() if row.name == name), None)
        if row is None or row.state is State.CRASHED:
            raise SystemSaidNo(
                f"The guest '{name}' {'crashed' if row else 'ended'}. It said last:\n{_last(host, name)}"
            )
        raise NotYet("sshd does not let us in yet")

    patience_s = host.network.way.patience_s
    wait_until(
        f"ssh of '{name}'", answers, Deadline.after(timeout_s * host.pace().times), every_s=1.0 if patience_s else 0.1
    )


def wait_until_gone(host: Host, names: Sequence[str], *, timeout_s: float) -> None:
    """Return when none of the domains is there any more, or raise TimedOut."""

    def gone() -> None:
        left = [row.name for row in host.monitor.list() if row.name in names]
        if left:
            raise NotYet(f"{', '.join(left)} still there")

    every_s = 1.0 if host.network.way.patience_s else 0.1
    wait_until("the end of the domains", gone, Deadline.after(timeout_s), every_s=every_s)


def _last(host: Host, name: str) -> str:
    try:
        return last_words(host.monitor.console_log(name).decode(errors="replace"))
    except (OSError, NoSuchDomain):
        return "    (its console log is gone)"
