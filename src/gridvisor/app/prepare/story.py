"""The story of `gridvisor host prepare`: look, do what is to be done, look whether it is done; and the reboot."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from gridvisor.app.prepare.facts import Facts, look
from gridvisor.app.prepare.step import Wish, steps
from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError, TimedOut
from gridvisor.core.events import Bus
from gridvisor.run.command import Command, Unreachable, script
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

# A server's firmware alone takes minutes; an emulated machine as many for its services.
REBOOT_S = 1200.0
_ASK_S = 60.0
_STATE = """\
cat /proc/sys/kernel/random/boot_id
systemctl is-system-running || :
"""


def carry_out(dom0: Target, facts: Facts, wish: Wish, disks: Sequence[str], *, bus: Bus) -> Facts:
    """Do all that is to be done to the machine that `facts` tell of; what it is afterwards.

    Killed at any moment, it is to be called again. Raises Refused before anything is done, CommandFailed when a step
    fails, and GridvisorError when one had no effect.
    """
    for step in steps(facts, wish):
        with bus.step(step.what, where=dom0.name):
            dom0.run(step.command, timeout_s=step.timeout_s)
    now = look(dom0, disks)
    if left := steps(now, wish):
        raise GridvisorError(
            f"'{dom0.name}' has been told all, and is not as it should be: "
            + "; ".join(f"{s.what}, {s.does}" for s in left),
            hint="look whether another file there says otherwise, as of those in /etc/default/grub.d",
        )
    return now


def reboot(dom0: Ssh, boot_id: str, *, bus: Bus) -> None:
    """Boot the machine anew, which runs as `boot_id`, and return when all of its services have come up.

    Raises TimedOut when it has not come back in REBOOT_S.
    """
    with bus.step("reboot", where=dom0.name):
        with suppress(Unreachable, TimedOut):  # it may be quicker than its answer
            dom0.run(Command(("systemctl", "reboot")), timeout_s=_ASK_S)
        wait_until(
            f"'{dom0.name}' has not come back in {REBOOT_S:.0f} s",
            lambda: _require_up(dom0, boot_id),
            Deadline.after(REBOOT_S),
            every_s=2.0,
        )


def _require_up(dom0: Ssh, boot_id: str) -> None:
    try:
        said = dom0.run(script(_STATE), timeout_s=_ASK_S).stdout.split()
    except GridvisorError as error:
        dom0.stop()  # a shared connection to the machine as it was would hang
        raise NotYet("it does not answer") from error
    if said[0] == boot_id:
        raise NotYet("it has not gone down yet")
    if said[1:] in (["initializing"], ["starting"]):
        raise NotYet("it answers, and its services are being started")
