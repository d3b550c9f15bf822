"""Names that users of a site cannot have: guests have accounts or groups of these names, or may get them."""

from __future__ import annotations

# Debian's base-passwd has these on every machine; see its users-and-groups.txt.
_BASE = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody
    adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl plugdev
    staff users nogroup
"""
# systemd, and packages of our images.
_IMAGES = "clock crontab input kvm messagebus munge openldap prometheus render sgx slurm sshd statd xrootd"
# Packages that a role of one's own, or a later release, may well bring.
_OTHERS = """
    avahi bdii chrony condor dbus dcache dnsmasq docker ldap mysql netdev nslcd ntp ntpsec polkitd
    postdrop postfix postgres rdma redis rtkit slapd sssd ssh storm tomcat tss uuidd voms wheel
"""
_NAMES = frozenset(f"{_BASE} {_IMAGES} {_OTHERS}".split())


def is_reserved(name: str) -> bool:
    """True for the name of an account or group of the system, or of a service."""
    return name in _NAMES or name.startswith("systemd-")
