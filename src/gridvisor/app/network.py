"""A domain's part in the network of this host's domains: how it joins it, and how it leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gridvisor.app.host import Host
from gridvisor.app.machine import Machine
from gridvisor.core.undo import Undo
from gridvisor.domain.model import Domain
from gridvisor.monitor.protocol import Nic, State
from gridvisor.network.address import tap_name
from gridvisor.network.dhcp import Dhcp, Lease
from gridvisor.network.namespace import HostNetwork


@contextmanager
def joined(domain: Domain, machine: Machine, host: Host) -> Iterator[tuple[Nic, ...]]:
    """The guest's interfaces, in a network that nobody removes before the domain is on it; none without a vif.

    Their taps are named by their MACs, which stay when the domain is renamed.
    """
    if not domain.vifs:
        yield ()
        return
    with Undo(host.bus.note) as undo:
        undo.add("network", lambda: remove_idle_network(host))
        with host.network.users():
            with host.bus.step("network", where=domain.name):
                host.network.ensure()
                if domain.dhcp and isinstance(host.network, HostNetwork):
                    name = (domain.hostname or domain.name).partition(".")[0].replace("_", "-")
                    Dhcp(host.network).add(Lease(machine.macs[0], machine.address, name))
            yield tuple(Nic(mac, tap_name(host.places.tag, mac, 0)) for mac in machine.macs)


def leave(machine: Machine, host: Host) -> None:
    """Give back the machine's lease."""
    if isinstance(host.network, HostNetwork):
        Dhcp(host.network).remove(machine.macs)


def remove_idle_network(host: Host) -> None:
    """Remove the network when no domain is left to use it."""
    here = host.network.namespace
    host.network.remove_if_idle(
        lambda: any(row.namespace == here and row.state is not State.CRASHED for row in host.monitor.list())
    )
