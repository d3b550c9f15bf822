"""ifupdown, Debian's older way: all interfaces in one file (interfaces(5))."""

from __future__ import annotations

from gridvisor.identity.model import Identity, IdentityFile
from gridvisor.identity.network.rename import udev_rules


def ifupdown_files(identity: Identity) -> tuple[IdentityFile, ...]:
    """/etc/network/interfaces, and the udev rules that give the interfaces their names.

    The file has no `source` line, so that a fragment left in the image cannot configure an interface twice.
    """
    lines = ["auto lo", "iface lo inet loopback"]
    for index, interface in enumerate(identity.interfaces):
        method = "dhcp" if interface.address is None else "static"
        lines += ["", f"auto {interface.name}", f"iface {interface.name} inet {method}"]
        if interface.address is not None:
            # Address and netmask apart: ifupdown before 0.8 does not know '/24'.
            lines += [f"    address {interface.address.ip}", f"    netmask {interface.address.netmask}"]
        if interface.gateway is not None:
            lines.append(f"    gateway {interface.gateway}")
        if index == 0 and identity.nameservers:  # read by resolvconf(8) where it is installed
            lines.append(f"    dns-nameservers {' '.join(map(str, identity.nameservers))}")
        if index == 0 and identity.search:
            lines.append(f"    dns-search {' '.join(identity.search)}")
    return (
        IdentityFile("/etc/network/interfaces", "\n".join([*lines, ""]).encode()),
        udev_rules(identity),
    )
