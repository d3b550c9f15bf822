"""A site on this host: where its parts are, and what they are called."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.app.host import SITE_GROUP, Host
from gridvisor.app.login import ssh_to
from gridvisor.app.site.ids import Ids, ids_of
from gridvisor.core.errors import Refused
from gridvisor.core.files import locked
from gridvisor.identity.authority import Authority
from gridvisor.identity.keys import access_key
from gridvisor.identity.site_secrets import SiteSecrets
from gridvisor.monitor.protocol import DomainRow, Guest, Memory
from gridvisor.network.connect import ssh_argv
from gridvisor.network.dom0 import Dom0Network
from gridvisor.network.namespace import HostNetwork
from gridvisor.run.ssh import Ssh
from gridvisor.site.machine import Machine
from gridvisor.site.model import Site
from gridvisor.storage.pool import VolumePool

SEPARATOR = "."
REPOSITORIES = "repositories.json"  # the file of a site's folder that names them, by role


@dataclass
class _Look:
    """When the domains of the site were last looked at for those who wait for them, and what was there."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    at_s: float = float("-inf")  # of time.monotonic()
    rows: dict[str, DomainRow] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """`site` with its `machines` on `host`. Nothing is made by making one of these."""

    host: Host
    site: Site
    machines: tuple[Machine, ...]
    _look: _Look = field(default_factory=_Look, init=False, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """What of the site outlives its machines: keys, certificates, its last file. For root only."""
        return self.host.places.state / "sites" / self.site.site

    @property
    def pool_name(self) -> str:
        """The group of the site's volumes."""
        return f"{SITE_GROUP}{self.site.site}"

    @cached_property
    def pool(self) -> VolumePool:
        """The volumes of the site and of nothing else."""
        return self.host.pool(self.pool_name)

    @cached_property
    def memory(self) -> Memory | None:
        """What its machines have in memory, kept for its snapshots; None where that cannot be."""
        return self.host.memory(self.pool_name)

    @cached_property
    def authority(self) -> Authority:
        """The test CA of the site, with a certificate on its revocation list that probes show around in vain."""
        authority = Authority.open(self.folder / "authority", self.site.site)
        authority.revoked(self.site.users[0].name)
        return authority

    @cached_property
    def ids(self) -> Ids:
        """The numeric ids of its users and VOs."""
        return ids_of(self.folder, self.site)

    def repository(self, role: str) -> Path | None:
        """Packages that the role's image is made with before those of its suite; None unless the site is on trial."""
        noted = self.folder / REPOSITORIES
        found = json.loads(noted.read_text()).get(role) if noted.exists() else None
        return None if found is None else Path(found)

    @property
    def secrets(self) -> SiteSecrets:
        """Keys that its services share."""
        return SiteSecrets(self.folder / "secrets")

    @cached_property
    def network(self) -> HostNetwork | Dom0Network:
        """The site's own network: a bridge for each network of the site file, and no way out."""
        return self.host.site_network(self.site.site, self.site.networks)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the site alone: one command changes it at a time."""
        with locked(self.folder.with_name(f"{self.site.site}.lock")):
            yield

    def machine(self, name: str) -> Machine:
        """The machine of that name. Raises Refused when the site has none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise Refused(f"The site '{self.site.site}' has no machine '{name}'.", hint=f"its machines: {known}")

    def of_role(self, role: str) -> tuple[Machine, ...]:
        """Its machines of that role, in the order of the site file."""
        return tuple(machine for machine in self.machines if machine.role.name == role)

    def folder_of(self, machine: Machine) -> Path:
        """The machine's own folder: its keys, its identity, and what was last done to it."""
        return self.folder / "machines" / machine.name

    def domain_name(self, machine: Machine) -> str:
        """How the monitor knows the machine: two sites may have machines of the same name."""
        return f"{self.site.site}{SEPARATOR}{machine.name}"

    def rows(self) -> dict[str, DomainRow]:
        """The domains of this site that the monitor shows, by the machine's name; also of machines it has no more.

        A domain is of the site if it was started in the site's own network: anybody may give one the name of a machine.
        """
        return {name: row for row in self.host.monitor.list() if (name := self._machine_of(row)) is not None}

    def rows_lately(self, within_s: float) -> dict[str, DomainRow]:
        """`rows`, or what another thread was told at most `within_s` seconds ago.

        For threads that wait for a machine each: a look costs 13 ms of a processor for six guests, and half a second
        and more where `xl` is asked by ssh.
        """
        with self._look.lock:
            if time.monotonic() - self._look.at_s > within_s:
                self._look.rows = self.rows()
                self._look.at_s = time.monotonic()
            return self._look.rows

    def guests(self) -> dict[str, tuple[DomainRow, Guest]]:
        """The same domains, with what they were made with."""
        guests = self.host.monitor.guests()
        return {name: (row, guest) for row, guest in guests if (name := self._machine_of(row)) is not None}

    def _machine_of(self, row: DomainRow) -> str | None:
        prefix = f"{self.site.site}{SEPARATOR}"
        is_mine = row.namespace == self.network.namespace and row.name.startswith(prefix)
        return row.name.removeprefix(prefix) if is_mine else None

    def login_argv(self, machine: Machine, command: Sequence[str] = ()) -> list[str]:
        """The argv that opens ssh to the machine as root for a person: a shell, or `command`."""
        return ssh_argv(
            self.network.way,
            address_of(machine),
            key=access_key(self.host.places.state / "keys").private_path,
            known_hosts=self.folder_of(machine) / "known_hosts",
            command=command,
        )

    def ssh(self, machine: Machine, *, connect_timeout_s: int = 10) -> Ssh:
        """The machine as a place to run commands, as root; one connection serves many commands."""
        known_hosts = self.folder_of(machine) / "known_hosts"
        return ssh_to(self.host, self.network, address_of(machine), known_hosts, connect_timeout_s=connect_timeout_s)


def address_of(machine: Machine) -> IPv4Address:
    """Where the host reaches the machine."""
    return machine.interfaces[0].address
