"""DHCP for the guests that ask for it: dnsmasq in the network's namespace, fixed leases only, no way out for names."""

from __future__ import annotations

import re
import signal
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.files import write_whole
from gridvisor.network.namespace import HostNetwork
from gridvisor.network.sockets import udp_ports
from gridvisor.run.detached import Detached

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SERVER_PORT = 67


@dataclass(frozen=True, slots=True, order=True)
class Lease:
    """The address that the card `mac` (lower case) always gets, and the name it is known by."""

    mac: str
    address: IPv4Address
    name: str

    def __post_init__(self) -> None:
        if not _MAC.fullmatch(self.mac):
            raise Refused(f"'{self.mac}' is not a MAC address such as '00:16:3e:00:00:01'.")
        if not _HOST.fullmatch(self.name):
            raise Refused(f"'{self.name}' cannot be a host name.", hint="letters, digits and '-'")


class Dhcp:
    """The DHCP server of a network. It runs while there are leases, and outlives us."""

    def __init__(self, network: HostNetwork) -> None:
        self._network = network
        self._hosts = network.folder / "dhcp-hosts"
        self._names = network.folder / "dhcp-names"
        self._log = network.folder / "dhcp.log"
        self._process = Detached(network.folder / "dhcp.pid")

    def add(self, lease: Lease) -> None:
        """Serve `lease`, instead of an earlier one of its MAC or name.

        Raises Refused when its address is not of the network, or is another's.
        """
        if lease.address not in self._network.subnet or lease.address == self._network.address:
            raise Refused(f"{lease.address} is not an address for guests of {self._network.subnet}.")
        with self._network.lock():
            others = [other for other in self.leases() if other.mac != lease.mac and other.name != lease.name]
            for other in others:
                if other.address == lease.address:
                    raise Refused(f"{lease.address} is the address of '{other.name}' already.")
            self._serve([*others, lease])

    def remove(self, macs: Container[str]) -> None:
        """Serve these cards no more; fine when they never were. Without leases the server ends.

        By MAC, since a name may have gone to a later lease of another card.
        """
        with self._network.lock():
            leases = self.leases()
            left = [lease for lease in leases if lease.mac not in macs]
            if len(left) < len(leases):
                self._serve(left if self._network.exists() else ())

    def leases(self) -> tuple[Lease, ...]:
        """What is served, sorted by MAC."""
        try:
            return parse_hosts(self._hosts.read_text())
        except FileNotFoundError:
            return ()

    def running(self) -> bool:
        """True while the server lives."""
        return self._process.pid() is not None

    def _serve(self, leases: Iterable[Lease]) -> None:
        leases = sorted(leases)
        if not leases:
            self._process.stop()
            self._hosts.unlink(missing_ok=True)
            return
        if not self._network.exists():
            raise Refused(f"Network '{self._network.name}' does not exist.")
        self._network.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._names, render_names(leases))
        write_whole(self._hosts, render_hosts(leases))
        if not self._process.signal(signal.SIGHUP):
            argv = dnsmasq_argv(self._network, hosts=self._hosts, names=self._names)
            self._process.start(self._network.in_namespace(self._network.target), argv, log=self._log)
            wait_until("the start of dnsmasq", self._check_started, Deadline.after(10), every_s=0.01)

    def _check_started(self) -> None:
        pid = self._process.pid()
        if pid is None:
            raise GridvisorError(f"dnsmasq ended at once: {last_line(self._log)}", hint=f"see {self._log}")
        if _SERVER_PORT not in udp_ports(pid):
            raise NotYet("it does not listen")


def dnsmasq_argv(network: HostNetwork, *, hosts: Path, names: Path) -> tuple[str, ...]:
    """The server's command line (dnsmasq(8)). It stays root, since nobody else can read our state folder."""
    subnet = network.subnet
    return (
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
        "--log-dhcp",
        f"--interface={network.bridge}",
        "--except-interface=lo",
        "--bind-interfaces",
        # Names: those of the leases, and nobody outside is asked.
        "--no-resolv",
        "--no-hosts",
        "--local=/#/",
        f"--addn-hosts={names}",
        # Addresses: only to cards that we know, and no router, as there is no way out.
        f"--dhcp-range={subnet.network_address},static,{subnet.netmask},12h",
        f"--dhcp-hostsfile={hosts}",
        "--dhcp-option=option:router",
        "--dhcp-authoritative",
        "--leasefile-ro",
    )


def render_hosts(leases: Sequence[Lease]) -> str:
    """The leases as a `--dhcp-hostsfile`."""
    return "".join(f"{lease.mac},{lease.address},{lease.name}\n" for lease in leases)


def parse_hosts(text: str) -> tuple[Lease, ...]:
    """The leases of a file that `render_hosts` made."""
    rows = (line.split(",") for line in text.splitlines())
    return tuple(Lease(mac, IPv4Address(address), name) for mac, address, name in rows)


def render_names(leases: Sequence[Lease]) -> str:
    """The names of the leases as a hosts(5) file, so that they answer before the guest has asked for its lease."""
    return "".join(f"{lease.address}\t{lease.name}\n" for lease in leases)


def last_line(log: Path) -> str:
    """What a process said last."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except FileNotFoundError:
        return "it said nothing"
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
