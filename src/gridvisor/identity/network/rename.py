"""An interface gets its name by its MAC.

The kernel's own name depends on the monitor: 'vec0' on UML, 'eth0' on Xen, and 'enX0' once a newer systemd has
renamed that. The MAC is the same everywhere, so configuration that names an interface stays true on every monitor.
"""

from __future__ import annotations

from gridvisor.identity.model import Identity, IdentityFile, Interface


def link_file(interface: Interface) -> IdentityFile:
    """A systemd.link(5) file; for images whose udev is systemd's."""
    # Type=ether leaves alone a bridge or a VLAN that took over the MAC of its port.
    text = f"[Match]\nMACAddress={interface.mac}\nType=ether\n\n[Link]\nName={interface.name}\n"
    return IdentityFile(f"/etc/systemd/network/10-gridvisor-{interface.name}.link", text.encode())


def udev_rules(identity: Identity) -> IdentityFile:
    """A udev(7) rules file; every udev obeys it, those from before systemd.link(5) too.

    The file name is the one under which old systems kept these rules, so that a copied machine's own are replaced.
    """
    # DRIVERS=="?*" holds for devices with a driver only, not for a bridge or VLAN that took over the MAC.
    lines = [
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{interface.mac}", NAME="{interface.name}"\n'
        for interface in identity.interfaces
    ]
    return IdentityFile("/etc/udev/rules.d/70-persistent-net.rules", "".join(lines).encode())
