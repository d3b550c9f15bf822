"""The clocks of machines that stood still with the host they are on."""

from __future__ import annotations

import time

from gridvisor.app.host import Host
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import open_deployment, site_names
from gridvisor.core.errors import GridvisorError
from gridvisor.core.parallel import each
from gridvisor.monitor.protocol import State
from gridvisor.run.command import Command
from gridvisor.site.machine import Machine

_ASK_S = 60.0


def set_clocks(host: Host) -> None:
    """Set the clocks of all machines on `host` that run, of whatever site, to the time that it is here.

    A domain of Xen takes the time from its host when it boots, and no more. One that cannot be reached is told of.
    """
    sites = [open_deployment(host, name) for name in site_names(host.places)]
    running = {
        deployment.domain_name(machine): (deployment, machine)
        for deployment in sites
        if deployment.host.uri == host.uri
        for machine in _running(deployment)
    }

    def set_clock(domain: str) -> None:
        deployment, machine = running[domain]
        try:
            ssh = deployment.ssh(machine, connect_timeout_s=5)
            ssh.run(Command(("true",)), timeout_s=_ASK_S)  # so that the time is not old when it gets there
            ssh.run(Command(("date", "-s", f"@{time.time():.3f}")), timeout_s=_ASK_S)
        except GridvisorError as error:
            host.bus.warn(f"Its clock is not set: {error.message}", where=domain)

    if running:
        with host.bus.step("set clocks", where=host.uri):
            each(running, set_clock, workers=len(running))


def _running(deployment: Deployment) -> list[Machine]:
    rows = deployment.rows()
    return [one for one in deployment.machines if one.name in rows and rows[one.name].state is State.RUNNING]
