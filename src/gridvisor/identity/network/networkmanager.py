"""NetworkManager: one keyfile for each interface, matched by MAC (nm-settings-keyfile(5))."""

from __future__ import annotations

from uuid import UUID, uuid5

from gridvisor.identity.model import Identity, IdentityFile, Interface
from gridvisor.identity.network.rename import link_file


def networkmanager_files(identity: Identity) -> tuple[IdentityFile, ...]:
    """A .link file and a keyfile for each interface; name servers go with the first one."""
    return tuple(
        file
        for index, interface in enumerate(identity.interfaces)
        for file in (link_file(interface), _keyfile(identity, interface, with_dns=index == 0))
    )


def _keyfile(identity: Identity, interface: Interface, *, with_dns: bool) -> IdentityFile:
    ipv4 = ["method=auto"] if interface.address is None else ["method=manual", f"address1={interface.address}"]
    if interface.gateway is not None:
        ipv4[-1] += f",{interface.gateway}"
    if with_dns and identity.nameservers:
        ipv4.append(f"dns={''.join(f'{server};' for server in identity.nameservers)}")
        if interface.address is None:
            ipv4.append("ignore-auto-dns=true")
    if with_dns and identity.search:
        ipv4.append(f"dns-search={''.join(f'{name};' for name in identity.search)}")
    lines = [
        "[connection]",
        f"id={interface.name}",
        # Told by machine and MAC, so that writing the identity again keeps it.
        f"uuid={uuid5(UUID(identity.machine_id), interface.mac)}",
        "type=ethernet",
        "",
        "[ethernet]",
        f"mac-address={interface.mac.upper()}",
        "",
        "[ipv4]",
        *ipv4,
        "",
        "[ipv6]",
        "method=ignore",
    ]
    # NetworkManager leaves out keyfiles that anyone but root may read.
    path = f"/etc/NetworkManager/system-connections/gridvisor-{interface.name}.nmconnection"
    return IdentityFile(path, "\n".join([*lines, ""]).encode(), 0o600)
