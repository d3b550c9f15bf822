"""This machine as a host of domains: where the parts that touch the world are put together, and nowhere else."""

from __future__ import annotations

import os
from ipaddress import IPv4Network

from gridvisor.app.machine import Machines
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.image.store import ImageStore
from gridvisor.kernel.pack import KernelPack
from gridvisor.kernel.uml import uml_pack
from gridvisor.monitor.protocol import Monitor
from gridvisor.monitor.uml.monitor import UmlMonitor
from gridvisor.network.namespace import HostNetwork
from gridvisor.run.local import Local

SUBNET = IPv4Network("10.77.0.0/24")
BRIDGE = "xenbr0"  # the name that Xen's own examples give to the bridge of guests


class Host:
    """The monitor, the network and the stores of this machine; all made on use, so that reading is cheap."""

    def __init__(self, places: Places, bus: Bus, *, mirror_uri: str | None = None) -> None:
        self.places = places
        self.bus = bus
        self.target = Local()
        self.machines = Machines(places)
        self.images = ImageStore(places)
        self.monitor: Monitor = UmlMonitor(places, self.pack)
        self.network = HostNetwork(places, subnet=SUBNET, bridge=BRIDGE, bus=bus)
        self.mirror_uri = mirror_uri

    def pack(self, *, refresh: bool = False) -> KernelPack:
        """The kernel pack that guests boot with, built on first use; `refresh` looks for a newer one."""
        return uml_pack(self.places, self.bus, target=self.target, mirror_uri=self.mirror_uri, refresh=refresh)


def require_root() -> None:
    """Raise Refused for a user who may not make namespaces and taps."""
    if os.geteuid() != 0:
        raise Refused("Domains need root: they have a network namespace and taps.", hint="run it with sudo")
