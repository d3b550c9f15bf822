"""This machine as a host of domains: where the parts that touch the world are put together, and nowhere else."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Network

from gridvisor.app.capacity import Room, room
from gridvisor.app.machine import Machines
from gridvisor.app.pace import Pace
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.image.store import ImageStore
from gridvisor.kernel.pack import KernelPack, Pack
from gridvisor.kernel.uml import uml_pack
from gridvisor.monitor.protocol import Memory, Monitor
from gridvisor.monitor.uml.monitor import UmlMonitor
from gridvisor.network.dom0 import Dom0Network
from gridvisor.network.namespace import HostNetwork
from gridvisor.run.local import Local
from gridvisor.storage.files import FilePool, groups
from gridvisor.storage.pool import VolumePool

SUBNET = IPv4Network("10.77.0.0/24")
SITE_GROUP = "site."  # and the site's name: the group of its volumes; nobody's disk is called so by accident
BRIDGE = "xenbr0"  # the name that Xen's own examples give to the bridge of guests


class Host:
    """The monitor, the network and the stores of this machine; all made on use, so that reading is cheap.

    A guest's kernel takes `kernel_mib` of its memory more than that of User-Mode Linux does.
    """

    uri = "uml"
    kernel_mib = 0

    def __init__(self, places: Places, bus: Bus, *, mirror_uri: str | None = None) -> None:
        self.places = places
        self.bus = bus
        self.target = Local()
        self.machines = Machines(places)
        self.images = ImageStore(places)
        self.mirror_uri = mirror_uri

    @cached_property
    def monitor(self) -> Monitor:
        """What runs the domains."""
        return UmlMonitor(self.places, self.uml_pack)

    @cached_property
    def network(self) -> HostNetwork | Dom0Network:
        """The network of domains that are of no site."""
        return HostNetwork(self.places, subnet=SUBNET, bridge=BRIDGE, bus=self.bus)

    def pack(self, *, refresh: bool = False) -> Pack:
        """The kernel pack that guests boot with, built on first use; `refresh` looks for a newer one."""
        return self.uml_pack(refresh=refresh)

    def pool(self, group: str) -> VolumePool:
        """The volumes of that group."""
        return FilePool(self.places, group)

    def memory(self, group: str) -> Memory | None:
        """The memory of guests, kept for snapshots of that group; None where the monitor cannot keep it."""
        return None

    def groups(self) -> Sequence[str]:
        """The groups that have volumes."""
        return groups(self.places)

    def site_network(self, site: str, networks: Mapping[str, IPv4Network]) -> HostNetwork | Dom0Network:
        """The site's own network: a bridge for each of its networks, and no way out."""
        (bridge, subnet), *more = networks.items()
        return HostNetwork(
            self.places,
            network_name(site),
            subnet=subnet,
            bridge=bridge,
            more=tuple(more),
            target=self.target,
            bus=self.bus,
        )

    def room(self) -> Room:
        """What is left for guests."""
        return room(self.places.state)

    def facts(self) -> Mapping[str, object]:
        """What machine it is, with `xl info`'s names."""
        return {
            "host": platform.node(),
            "release": platform.release(),
            "machine": platform.machine(),
            "nr_cpus": os.cpu_count(),
        }

    def make_ready(self) -> bool:
        """See that guests can be booted, before any is; true when clocks of guests stood still until now.

        Raises Refused when they cannot.
        """
        require_root()
        return False

    def pace(self) -> Pace:
        """How quick its guests are; asked once they can be booted."""
        return Pace()

    def uml_pack(self, *, refresh: bool = False) -> KernelPack:
        """The kernel pack for User-Mode Linux."""
        return uml_pack(self.places, self.bus, target=self.target, mirror_uri=self.mirror_uri, refresh=refresh)


def network_name(site: str) -> str:
    """What the network of that site is called among the networks of a host."""
    return f"site-{site}"


def require_root() -> None:
    """Raise Refused for a user who may not make namespaces and taps."""
    if os.geteuid() != 0:
        raise Refused("Domains need root: they have a network namespace and taps.", hint="run it with sudo")
