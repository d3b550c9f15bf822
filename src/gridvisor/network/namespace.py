"""A network of guests: one network namespace with a bridge or several, a tap per guest, and no way in or out.

Nothing is remembered in files: what exists is asked of the kernel, and found by the name of the namespace, which
carries the tag of our state folder. The files in `folder` are those of its DHCP server and may be lost. A tap lives as
long as its guest, whose keeper makes and removes it (tap.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.core.undo import Undo
from gridvisor.network.address import gateway_of
from gridvisor.network.links import Bridge, Link, missing, parse_links
from gridvisor.network.publish import check_free
from gridvisor.network.tenants import Tenants
from gridvisor.network.way import Way, through_namespace
from gridvisor.network.wiring import Published, Wiring, taps
from gridvisor.run.command import Command, script
from gridvisor.run.detached import Detached
from gridvisor.run.local import Local
from gridvisor.run.target import Target
from gridvisor.run.wrapped import Wrapped, netns

NAMESPACES = Path("/run/netns")  # where ip-netns(8) keeps them
TUN = Path("/dev/net/tun")
_TUN_DEVICE = os.makedev(10, 200)  # Documentation/networking/tuntap.rst

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # IFNAMSIZ is 16 with the closing NUL
_COMMAND_S = 20.0

# A new namespace may inherit forwarding from the machine, and would give its links IPv6 addresses of their own.
_SHUT = """\
echo 0 > /proc/sys/net/ipv4/ip_forward
if [ -d /proc/sys/net/ipv6 ]; then
    echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
    echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
fi
exec ip -batch -
"""


@dataclass(frozen=True, slots=True)
class Tap:
    """A tap: `bridge` it is a port of, and whether a guest has it open."""

    name: str
    bridge: str | None
    in_use: bool


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """The network `name` on this machine. The host itself has the first address of `subnet`, on `bridge`.

    `more` are further bridges with their subnets; the host has the first address of each, and forwards nothing between
    them. Every verb may be called by several processes at once and again after any of them was killed.
    """

    places: Places
    name: str = "default"
    subnet: IPv4Network = field(default=IPv4Network("10.77.0.0/24"), kw_only=True)
    bridge: str = field(default="xenbr0", kw_only=True)
    more: tuple[tuple[str, IPv4Network], ...] = field(default=(), kw_only=True)
    target: Target = field(default_factory=Local, kw_only=True)
    bus: Bus = field(default_factory=Bus, kw_only=True)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Refused(f"'{self.name}' cannot be the name of a network.", hint="small letters, digits and '-'")
        for bridge, subnet in self.segments:
            if not _INTERFACE.fullmatch(bridge):
                raise Refused(
                    f"'{bridge}' cannot be the name of a network interface.", hint="at most 15 letters and digits"
                )
            if subnet.prefixlen > 30:
                raise Refused(f"The subnet '{subnet}' has no room for guests.")

    @property
    def namespace(self) -> str:
        """The name of the namespace, as `ip netns` lists it."""
        return f"gv-{self.places.tag}-{self.name}"

    @property
    def segments(self) -> tuple[tuple[str, IPv4Network], ...]:
        """All bridges with their subnets, the network's own one first."""
        return ((self.bridge, self.subnet), *self.more)

    @property
    def address(self) -> IPv4Address:
        """The host's own address in the network."""
        return gateway_of(self.subnet)

    @property
    def folder(self) -> Path:
        """Files of what runs in the network; every `*.pid` in it is a Detached process that `remove` ends."""
        return self.places.state / "networks" / self.name

    @property
    def way(self) -> Way:
        """How this machine gets to the guests."""
        return through_namespace(self.namespace)

    def bridge_of(self, network: str) -> str:
        """What the kernel calls the bridge of that one of the segments."""
        return network

    def wiring(self, bridges: dict[str, str], published: tuple[Published, ...]) -> Wiring:
        """For a guest with these taps, each on a bridge: its keeper makes them and removes them."""
        return taps(self.namespace, bridges, published)

    def require_free(self, port: int) -> None:
        """Raise Refused when something listens at that port of 127.0.0.1."""
        check_free(port)

    def publish(self, published: Sequence[Published]) -> None:
        """Nothing: a guest's keeper does it, by its wiring."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the network alone. Not to be held twice."""
        with self._tenants.alone():
            yield

    def in_namespace(self, target: Target) -> Wrapped:
        """`target` with its commands in the namespace; its files are the same."""
        return netns(target, self.namespace)

    def exists(self) -> bool:
        """True when the namespace is there."""
        return is_namespace(self.namespace)

    def ensure(self) -> None:
        """Bring up the namespace and its bridge; nothing is touched when they are there.

        Raises Refused when we may not, or when the network is there with another subnet.
        """
        with self.lock():
            self._bring_up()

    def taps(self) -> tuple[Tap, ...]:
        """The taps there are; none when the network does not exist."""
        links = self._links() if self.exists() else ()
        return tuple(Tap(link.name, link.master, link.carrier) for link in links if link.kind == "tun")

    def remove(self) -> None:
        """Remove the network and end what we run for it; fine when it is not there.

        Raises Refused while a guest holds one of its taps. Other processes inside keep a network without a name,
        until they end.
        """
        with self.lock():
            if busy := [tap.name for tap in self.taps() if tap.in_use]:
                raise Refused(f"Guests run in network '{self.name}', on {', '.join(busy)}.", hint="destroy them first")
            self._clear()

    @contextmanager
    def users(self) -> Iterator[None]:
        """Keep `remove_if_idle` away: for whoever brings up the network and has no guest on it yet."""
        with self._tenants.coming():
            yield

    def remove_if_idle(self, in_use: Callable[[], bool]) -> bool:
        """Remove the network, unless one of its `users` or a guest needs it; true when it is gone.

        `in_use` tells whether a domain is there that may yet take its tap again, such as one that reboots just now.
        """
        with self._tenants.none_coming() as nobody_comes:
            if not nobody_comes or in_use() or any(tap.in_use for tap in self.taps()):
                return False
            self._clear()
            return True

    @property
    def _tenants(self) -> Tenants:
        return Tenants(self.folder)

    @property
    def _inside(self) -> Wrapped:
        return self.in_namespace(self.target)

    def _bring_up(self) -> None:
        check_able()
        with Undo(self.bus.note) as undo:
            if not self.exists():
                self._clear()  # what a reboot left, or a killed `ip netns add`: a file, and no namespace behind it
                undo.add(f"network {self.name}", self._clear)
                self.target.run(Command.of("ip", "netns", "add", self.namespace), timeout_s=_COMMAND_S)
            links = self._links()
            bridges = [self._wanted(bridge, subnet) for bridge, subnet in self.segments]
            for bridge in bridges:
                self._check_fits(links, bridge)
            if lines := [line for bridge in bridges for line in missing(links, bridge)]:
                # The bridges come last of what shuts the namespace, so that one with a bridge is shut.
                shut = any(link.kind == "bridge" for link in links)
                command = Command.of("ip", "-batch", "-") if shut else script(_SHUT)
                batch = Command(command.argv, stdin="".join(f"{line}\n" for line in lines).encode())
                self._inside.run(batch, timeout_s=_COMMAND_S)

    def _wanted(self, bridge: str, subnet: IPv4Network) -> Bridge:
        mac = "02:" + hashlib.sha256(f"{self.namespace}/{bridge}".encode()).digest()[:5].hex(":")
        return Bridge(bridge, mac, IPv4Interface((gateway_of(subnet), subnet.prefixlen)))

    def _check_fits(self, links: tuple[Link, ...], bridge: Bridge) -> None:
        wanted = bridge.address.network
        for link in links:
            if link.name == bridge.name and link.addresses and bridge.address not in link.addresses:
                raise Refused(
                    f"Network '{self.name}' exists with {link.addresses[0].network}, not with {wanted}.",
                    hint="remove it first, or take another name",
                )

    def _links(self) -> tuple[Link, ...]:
        listing = Command.of("ip", "-json", "-details", "address", "show")
        return parse_links(self._inside.run(listing, timeout_s=_COMMAND_S).stdout)

    def _clear(self) -> None:
        """End what runs for the network, and remove its namespace and its files; each may be absent."""
        for pid_file in sorted(self.folder.glob("*.pid")):
            Detached(pid_file).stop()
        if (NAMESPACES / self.namespace).exists():
            self.target.run(Command.of("ip", "netns", "delete", self.namespace), timeout_s=_COMMAND_S)
        shutil.rmtree(self.folder, ignore_errors=True)


def is_namespace(name: str) -> bool:
    """True when `name` is a living namespace: mounted, and not only the file that it would be mounted on."""
    try:
        return (NAMESPACES / name).stat().st_dev != NAMESPACES.stat().st_dev
    except FileNotFoundError:
        return False


def network_names(places: Places) -> tuple[str, ...]:
    """The names of all networks that belong to this state folder."""
    prefix = f"gv-{places.tag}-"
    found = NAMESPACES.glob(f"{prefix}*") if NAMESPACES.is_dir() else ()
    return tuple(sorted(path.name.removeprefix(prefix) for path in found))


def check_able() -> None:
    """Raise Refused when we are not root, or this machine has no tun device."""
    if os.geteuid() != 0:
        raise Refused("A network of guests needs root.", hint="sudo gridvisor …")
    try:
        there = TUN.stat().st_rdev == _TUN_DEVICE
    except FileNotFoundError:
        there = False
    if not there:
        raise Refused(f"This machine has no {TUN}, which guests' network cards need.", hint="modprobe tun")
