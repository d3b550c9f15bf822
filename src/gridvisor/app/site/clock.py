"""The clocks of guests that stood still with the host they are on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from gridvisor.app.host import Host
from gridvisor.app.login import guest_ssh
from gridvisor.app.site.opening import open_deployment, site_names
from gridvisor.core.errors import GridvisorError
from gridvisor.core.parallel import each
from gridvisor.monitor.protocol import State
from gridvisor.run.command import Command
from gridvisor.run.ssh import Ssh

_ASK_S = 60.0


def set_clocks(host: Host) -> None:
    """Set the clocks of all guests of ours on `host` that run to the time that it is here.

    A domain of Xen takes the time from its host when it boots or goes on from where it was suspended, and no more. One
    that cannot be reached is told of.
    """
    guests = dict(_guests(host))

    def set_clock(domain: str) -> None:
        try:
            ssh = guests[domain]()
            ssh.run(Command(("true",)), timeout_s=_ASK_S)  # so that the time is not old when it gets there
            ssh.run(Command(("date", "-s", f"@{time.time():.3f}")), timeout_s=_ASK_S)
        except GridvisorError as error:
            host.bus.warn(f"Its clock is not set: {error.message}", where=domain)

    if guests:
        with host.bus.step("set clocks", where=host.uri):
            each(guests, set_clock, workers=len(guests))


def _guests(host: Host) -> Iterator[tuple[str, Callable[[], Ssh]]]:
    """Each guest that runs, of whatever site or of none, by its domain's name, and how to reach it."""
    rows = {row.name: row for row in host.monitor.list() if row.ours and row.state is State.RUNNING}
    for name in site_names(host.places):
        deployment = open_deployment(host, name)
        if deployment.host.uri == host.uri:
            for machine in deployment.machines:
                row = rows.get(deployment.domain_name(machine))
                if row is not None and row.namespace == deployment.network.namespace:
                    yield row.name, partial(deployment.ssh, machine, connect_timeout_s=5)
    for row in rows.values():
        if row.namespace == host.network.namespace:
            yield row.name, partial(guest_ssh, host, row.name, connect_timeout_s=5)
