"""How to log in to a guest of this host."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.app.host import Host
from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.identity.keys import access_key
from gridvisor.network.connect import ssh_argv
from gridvisor.network.dom0 import Dom0Network
from gridvisor.network.namespace import HostNetwork
from gridvisor.run.ssh import Ssh, socket_folder
from gridvisor.run.wrapped import Wrapped


def ssh_command(host: Host, name: str, command: Sequence[str], *, connect_s: int = 10) -> list[str]:
    """The argv that runs `command`, or a shell when it is empty, on the guest as root.

    Raises Refused for a domain without a network interface.
    """
    address, known_hosts = _known(host, name)
    return ssh_argv(
        host.network.way,
        address,
        key=access_key(host.places.state / "keys").private_path,
        known_hosts=known_hosts,
        command=command,
        connect_timeout_s=connect_s,
    )


def guest_ssh(host: Host, name: str, *, connect_timeout_s: int = 10) -> Ssh:
    """The guest as a place to run commands, as root. Raises Refused for a domain without a network interface."""
    return ssh_to(host, host.network, *_known(host, name), connect_timeout_s=connect_timeout_s)


def ssh_to(
    host: Host,
    network: HostNetwork | Dom0Network,
    address: IPv4Address,
    known_hosts: Path,
    *,
    connect_timeout_s: int,
) -> Ssh:
    """A guest at that address of a network, as a place to run commands; one connection serves many of them."""
    way = network.way
    return Ssh(
        host=str(address),
        user="root",
        sockets=socket_folder({}, uid=0),
        identity=access_key(host.places.state / "keys").private_path,
        known_hosts=known_hosts,
        connect_timeout_s=max(connect_timeout_s, way.patience_s),
        proxy_command=way.proxy_command,
        via=Wrapped(host.target, way.enter, f"{host.target.name}@{network.namespace}"),
    )


def _known(host: Host, name: str) -> tuple[IPv4Address, Path]:
    """Where the guest answers, and the file of its key."""
    guest = host.monitor.guest(name)
    if guest.namespace is None or guest.address is None:
        raise Refused(f"'{name}' has no network interface.", hint=f"gridvisor domain console {name}")
    machine = host.machines.find(name)
    if machine is None:
        raise GridvisorError(f"The keys of the machine '{name}' are gone.", hint="create the domain again")
    return IPv4Address(guest.address), machine.folder / "known_hosts"
