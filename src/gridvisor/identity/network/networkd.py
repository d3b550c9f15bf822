"""systemd-networkd: one .network file for each interface, matched by MAC (systemd.network(5))."""

from __future__ import annotations

from gridvisor.identity.model import Identity, IdentityFile, Interface
from gridvisor.identity.network.rename import link_file


def networkd_files(identity: Identity) -> tuple[IdentityFile, ...]:
    """A .link and a .network file for each interface; name servers go with the first one."""
    return tuple(
        file
        for index, interface in enumerate(identity.interfaces)
        for file in (link_file(interface), _network(identity, interface, with_dns=index == 0))
    )


def _network(identity: Identity, interface: Interface, *, with_dns: bool) -> IdentityFile:
    # No router advertises in a site's own network; waiting for one only delays network-online.target.
    network = ["IPv6AcceptRA=no"]
    dhcp: list[str] = []
    if interface.address is None:
        network.append("DHCP=ipv4")
        # By default the id comes from the machine-id: leases and reservations are kept by MAC.
        dhcp = ["", "[DHCPv4]", "ClientIdentifier=mac"]
    else:
        network.append(f"Address={interface.address}")
        if interface.gateway is not None:
            network.append(f"Gateway={interface.gateway}")
    if with_dns:
        network += [f"DNS={server}" for server in identity.nameservers]
        if identity.search:
            network.append(f"Domains={' '.join(identity.search)}")
        if dhcp and identity.nameservers:
            dhcp.append("UseDNS=no")
    lines = ["[Match]", f"MACAddress={interface.mac}", "Type=ether", "", "[Network]", *network, *dhcp]
    path = f"/etc/systemd/network/10-gridvisor-{interface.name}.network"
    return IdentityFile(path, "\n".join([*lines, ""]).encode())
