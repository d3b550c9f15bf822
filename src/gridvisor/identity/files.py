"""The files of an identity: everything that a machine has and its image has not."""

from __future__ import annotations

from gridvisor.identity.model import Identity, IdentityEntry, IdentityFile, IdentityFolder, IdentityLink
from gridvisor.identity.network.files import network_files
from gridvisor.identity.network.style import NetworkStyle

# Debian installs systemd-networkd without enabling it; an image that has nothing else for its network gets it enabled.
_NETWORKD_ENABLED = (
    IdentityLink(
        "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/usr/lib/systemd/system/systemd-networkd.service",
    ),
)


def identity_files(identity: Identity, style: NetworkStyle) -> tuple[IdentityEntry, ...]:
    """All entries of the identity's tar, for an image that sets up its network in `style`."""
    return (
        IdentityFile("/etc/hostname", f"{identity.hostname}\n".encode()),
        IdentityFile("/etc/hosts", _hosts(identity).encode()),
        *_resolver(identity),
        IdentityFile("/etc/machine-id", f"{identity.machine_id}\n".encode(), 0o444),
        # An image copied from a real machine may have a file of its own here, the same in all its clones.
        IdentityLink("/var/lib/dbus/machine-id", "/etc/machine-id"),
        *_host_keys(identity),
        *_authorized_keys(identity),
        *network_files(style, identity),
        *(_NETWORKD_ENABLED if style is NetworkStyle.NETWORKD else ()),
    )


def _hosts(identity: Identity) -> str:
    """/etc/hosts: the machine's own names stand at its real address; at 127.0.1.1 (Debian's way) if that is not known.

    Grid services publish the address that their own name has, so a loopback address there would go out to others.
    """
    listed = (address for address, names in identity.hosts if identity.fqdn in names or identity.hostname in names)
    own = identity.address or next(listed, None)
    own_names = [identity.fqdn]
    for name in (identity.hostname, identity.hostname.partition(".")[0]):
        own_names += [name] if name not in own_names else []
    lines = ["127.0.0.1 localhost"]
    for address, names in identity.hosts:
        if address == own:
            own_names += [name for name in names if name not in own_names]
    lines.append(f"{own or '127.0.1.1'} {' '.join(own_names)}")
    lines += [f"{address} {' '.join(names)}" for address, names in identity.hosts if address != own]
    lines += ["::1 localhost ip6-localhost ip6-loopback", "ff02::1 ip6-allnodes", "ff02::2 ip6-allrouters"]
    return "\n".join([*lines, ""])


def _resolver(identity: Identity) -> tuple[IdentityFile, ...]:
    """/etc/resolv.conf; left to the DHCP client where that is all who knows."""
    if identity.address is None and not identity.nameservers:
        return ()
    lines = [f"search {' '.join(identity.search)}"] if identity.search else []
    lines += [f"nameserver {server}" for server in identity.nameservers]
    return (IdentityFile("/etc/resolv.conf", "".join(f"{line}\n" for line in lines).encode()),)


def _host_keys(identity: Identity) -> tuple[IdentityEntry, ...]:
    """The ssh host keys, and what keeps sshd from showing, or the guest from making, any others."""
    if not identity.host_keys:
        return ()
    entries: list[IdentityEntry] = []
    settings = ""
    for key in identity.host_keys:
        path = f"/etc/ssh/ssh_host_{key.algorithm}_key"
        entries += [IdentityFile(path, key.private_pem, 0o600), IdentityFile(f"{path}.pub", f"{key.public}\n".encode())]
        settings += f"HostKey {path}\n"
    return (
        *entries,
        # With a HostKey named, sshd takes no others: keys left in an image are known to every clone.
        IdentityFile("/etc/ssh/sshd_config.d/00-gridvisor-host-keys.conf", settings.encode()),
        # Debian 13 (at a first boot) and the RPM family (at every boot) make missing keys; RSA costs a guest seconds.
        IdentityLink("/etc/systemd/system/sshd-keygen.service", "/dev/null"),
        IdentityLink("/etc/systemd/system/sshd-keygen@.service", "/dev/null"),
    )


def _authorized_keys(identity: Identity) -> tuple[IdentityEntry, ...]:
    if not identity.authorized_keys:
        return ()
    text = "".join(f"{line}\n" for line in identity.authorized_keys)
    return (
        IdentityFolder("/root/.ssh", 0o700),
        IdentityFile("/root/.ssh/authorized_keys", text.encode(), 0o600),
    )
