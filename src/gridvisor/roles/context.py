"""What the templates of a role see: the site as plain names, and nothing that could act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

USERS_FROM_UID = 2001
ACCOUNTS_FROM_UID = 3001


@dataclass(frozen=True, slots=True)
class UserView:
    """A user of the site. `dn` is the subject of their certificate, in slash form."""

    name: str
    vo: str
    dn: str
    uid: int
    home: str


@dataclass(frozen=True, slots=True)
class AccountView:
    """The local account that the members of a VO are mapped to, the same on every machine that runs jobs."""

    name: str
    vo: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine of the site; `address` is that of its first card, `addresses` are those in each of its networks."""

    name: str
    fqdn: str
    role: str
    memory_mib: int
    vcpus: int
    address: IPv4Address
    addresses: Mapping[str, IPv4Address]

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its networks, in the order of its cards."""
        return tuple(self.addresses)


@dataclass(frozen=True, slots=True)
class SiteView:
    """The site itself."""

    name: str
    domain: str
    vos: tuple[str, ...]
    users: tuple[UserView, ...]
    networks: Mapping[str, IPv4Network]


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """The test CA: its subject in slash form, and the hash by which OpenSSL finds it."""

    dn: str
    hash: str


@dataclass(frozen=True, slots=True)
class Context:
    """All names of a template. `secret(NAME)` gives 64 hex digits, the same for all machines of a site."""

    site: SiteView
    machine: MachineView
    machines: Sequence[MachineView]
    accounts: Sequence[AccountView]
    ca: AuthorityView
    secret: Callable[[str], str]

    def role(self, name: str) -> list[MachineView]:
        """The machines of that role, in the order of the site file."""
        return [machine for machine in self.machines if machine.role == name]

    def names(self) -> dict[str, object]:
        """What is handed to Jinja2."""
        return {
            "site": self.site,
            "machine": self.machine,
            "machines": self.machines,
            "accounts": self.accounts,
            "ca": self.ca,
            "secret": self.secret,
            "role": self.role,
        }


def account_name(vo: str) -> str:
    """The name of a VO's account: 'dteam001', and 'vo_example_org001' for vo.example.org."""
    # systemd-sysusers takes no dots. No VO's name has a '_', so no two VOs get the same account.
    return f"{vo.replace('.', '_')}001"


def accounts_of(ids: Mapping[str, int]) -> tuple[AccountView, ...]:
    """One account for each VO, by the VOs' ids."""
    return tuple(AccountView(account_name(vo), vo, number, number) for vo, number in ids.items())
