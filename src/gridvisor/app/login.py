"""How to log in to a guest of this host."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from gridvisor.app.host import Host
from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.identity.keys import access_key
from gridvisor.network.connect import ssh_argv


def ssh_command(host: Host, name: str, command: Sequence[str], *, connect_s: int = 10) -> list[str]:
    """The argv that runs `command`, or a shell when it is empty, on the guest as root.

    Raises Refused for a domain without a network interface.
    """
    guest = host.monitor.guest(name)
    if guest.namespace is None or guest.address is None:
        raise Refused(f"'{name}' has no network interface.", hint=f"gridvisor domain console {name}")
    machine = host.machines.find(name)
    if machine is None:
        raise GridvisorError(f"The keys of the machine '{name}' are gone.", hint="create the domain again")
    return ssh_argv(
        host.network.way,
        IPv4Address(guest.address),
        key=access_key(host.places.state / "keys").private_path,
        known_hosts=machine.folder / "known_hosts",
        command=command,
        connect_timeout_s=connect_s,
    )
