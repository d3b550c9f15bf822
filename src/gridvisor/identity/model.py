"""What an identity is: plain data, checked when it is made, so that the writers need not quote or doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeAlias

from gridvisor.core.errors import Refused

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"  # RFC 1123, and '_', which old site names have
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_HOST_NAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(\.{_LABEL})*")  # 64 is the kernel's limit, sethostname(2)
_INTERFACE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}")  # IFNAMSIZ is 16 with its NUL
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_LINE = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface, known by its `mac` (lower case). `name` is what the guest calls it.

    `address` carries the network's prefix; None asks DHCP. Raises Refused for what no guest could use.
    """

    mac: str
    name: str = "eth0"
    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None

    def __post_init__(self) -> None:
        _check(_MAC, self.mac, "a MAC address such as '00:16:3e:00:00:01'")
        _check(_INTERFACE_NAME, self.name, "an interface name of at most 15 letters and digits")
        if self.gateway is None:
            return
        if self.address is None:
            raise Refused(f"'{self.name}' asks DHCP for its address and cannot be given the gateway {self.gateway}.")
        if self.gateway not in self.address.network:
            raise Refused(
                f"The gateway {self.gateway} of '{self.name}' is not in its network {self.address.network}.",
                hint="check ip, netmask and gateway",
            )


@dataclass(frozen=True, slots=True)
class HostKey:
    """An ssh host key: `algorithm` as in file names ('ed25519'), the private part as OpenSSH stores it, and
    `public`, one line as in known_hosts without the host."""

    algorithm: str
    private_pem: bytes = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class Identity:
    """All that makes one machine out of an image. Two machines share no machine-id, MAC or host key.

    `hostname` is short or whole; `dns_domain` is added to it where a whole name is wanted. `hosts` are lines of
    /etc/hosts: an address, its whole name, its other names. `authorized_keys` may log in as root.
    Raises Refused for names that would spoil the files they are written to.
    """

    hostname: str
    machine_id: str
    interfaces: tuple[Interface, ...] = ()
    dns_domain: str | None = None
    hosts: tuple[tuple[IPv4Address, tuple[str, ...]], ...] = ()
    nameservers: tuple[IPv4Address, ...] = ()
    search: tuple[str, ...] = ()
    host_keys: tuple[HostKey, ...] = field(default=(), repr=False)
    authorized_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(_HOST_NAME, self.hostname, "a host name: letters, digits, '-' and '.', at most 64")
        _check(_MACHINE_ID, self.machine_id, "a machine-id of 32 hex digits")
        domain = (self.dns_domain,) if self.dns_domain is not None else ()
        for name in (*domain, *self.search, *(name for _, names in self.hosts for name in names)):
            _check(_DNS_NAME, name, "a DNS name")
        for address, names in self.hosts:
            if not names:
                raise Refused(f"The host {address} has no name.")
        for line in (*self.authorized_keys, *(key.public for key in self.host_keys)):
            _check(_LINE, line, "one line with a public ssh key")
        for what, values in (
            ("MAC", [interface.mac for interface in self.interfaces]),
            ("name", [interface.name for interface in self.interfaces]),
        ):
            if twice := {value for value in values if values.count(value) > 1}:
                raise Refused(f"Two interfaces of '{self.hostname}' have the {what} '{min(twice)}'.")

    @property
    def fqdn(self) -> str:
        """The whole name; the host name alone when there is no domain, or when it already ends in it."""
        if self.dns_domain is None or self.hostname.endswith(f".{self.dns_domain}"):
            return self.hostname
        return f"{self.hostname}.{self.dns_domain}"

    @property
    def address(self) -> IPv4Address | None:
        """The first address that is known before the machine runs."""
        return next((interface.address.ip for interface in self.interfaces if interface.address), None)


@dataclass(frozen=True, slots=True)
class IdentityFile:
    """A file of the guest. `path` is absolute; `mode` is the permission bits."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class IdentityFolder:
    """A folder whose mode we own. Folders that every image has (/etc) are never named: their mode is the image's."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class IdentityLink:
    """A symbolic link of the guest."""

    path: str
    target: str


IdentityEntry: TypeAlias = IdentityFile | IdentityFolder | IdentityLink


def _check(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise Refused(f"{text!r} is not {what}.")
