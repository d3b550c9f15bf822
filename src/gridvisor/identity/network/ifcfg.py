"""The RPM family's network-scripts: /etc/sysconfig/network and an ifcfg file for each interface.

The form in which the preprint of 2008 configures its domains; see sysconfig.txt of the initscripts package.
"""

from __future__ import annotations

from gridvisor.identity.model import Identity, IdentityFile, Interface
from gridvisor.identity.network.rename import udev_rules


def ifcfg_files(identity: Identity) -> tuple[IdentityFile, ...]:
    """The files of network-scripts, and the udev rules that give the interfaces their names."""
    network = ["NETWORKING=yes", f"HOSTNAME={identity.fqdn}"]
    gateways = [interface.gateway for interface in identity.interfaces if interface.gateway is not None]
    network += [f"GATEWAY={gateway}" for gateway in gateways[:1]]
    scripts = (_ifcfg(identity, interface, with_dns=index == 0) for index, interface in enumerate(identity.interfaces))
    return (
        IdentityFile("/etc/sysconfig/network", "\n".join([*network, ""]).encode()),
        *scripts,
        udev_rules(identity),
    )


def _ifcfg(identity: Identity, interface: Interface, *, with_dns: bool) -> IdentityFile:
    lines = [
        f"DEVICE={interface.name}",
        f"HWADDR={interface.mac.upper()}",
        f"BOOTPROTO={'dhcp' if interface.address is None else 'static'}",
        "ONBOOT=yes",
        "TYPE=Ethernet",
    ]
    if interface.address is not None:
        lines += [f"IPADDR={interface.address.ip}", f"NETMASK={interface.address.netmask}"]
    if interface.gateway is not None:
        lines.append(f"GATEWAY={interface.gateway}")
    if with_dns and identity.nameservers:
        lines += [f"DNS{number}={server}" for number, server in enumerate(identity.nameservers, start=1)]
        if interface.address is None:
            lines.append("PEERDNS=no")
    if with_dns and identity.search:
        lines.append(f'DOMAIN="{" ".join(identity.search)}"')
    path = f"/etc/sysconfig/network-scripts/ifcfg-{interface.name}"
    return IdentityFile(path, "\n".join([*lines, ""]).encode())
