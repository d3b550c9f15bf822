"""A Xen host as a host of domains: dom0 is this machine, or reached by ssh, or in a box on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from gridvisor.app.box import box_of
from gridvisor.app.capacity import Room
from gridvisor.app.host import BRIDGE, SITE_GROUP, SUBNET, Host, network_name
from gridvisor.app.pace import Pace, emulated
from gridvisor.core.errors import Refused
from gridvisor.kernel.xen import XenPack, xen_pack
from gridvisor.monitor.box.accelerator import TCG
from gridvisor.monitor.box.box import Box
from gridvisor.monitor.box.qemu import GUEST_KEYS, GUEST_PARAMETERS
from gridvisor.monitor.protocol import Monitor
from gridvisor.monitor.xen.memory import XenMemory
from gridvisor.monitor.xen.monitor import XenMonitor
from gridvisor.network.dom0 import Dom0Network
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh, socket_folder
from gridvisor.run.target import Target
from gridvisor.storage.filling import Fill, filling
from gridvisor.storage.lvm import LvmPool

GROUP = "vg0"
_SSH = "xen+ssh"


class XenHost(Host):
    """The Xen whose dom0 is `dom0()`; images, keys and what is known of sites stay on this machine.

    `start` is called before guests are booted, and is true if clocks of guests stood still until then. `parameters`
    are words for the kernels of all its guests, `keys` are for xl's configuration of each.
    """

    # Debian's kernel with its initramfs, against the kernel of User-Mode Linux: `free` in one guest and in the other.
    kernel_mib = 48

    def __init__(
        self,
        of: Host,
        uri: str,
        *,
        dom0: Callable[[], Target],
        fill: Fill | None = None,
        start: Callable[[], bool],
        parameters: Sequence[str] = (),
        keys: Mapping[str, str] = MappingProxyType({}),
        pace: Callable[[], Pace] = Pace,
    ) -> None:
        super().__init__(of.places, of.bus, mirror_uri=of.mirror_uri)
        self.uri = uri
        self._dom0 = dom0
        self._fill = fill
        self._start = start
        self._parameters = parameters
        self._keys = keys
        self._pace = pace
        self._is_warned = False
        self._pools: dict[str, LvmPool] = {}

    @cached_property
    def dom0(self) -> Target:
        """dom0, as root."""
        return self._dom0()

    @cached_property
    def _xen(self) -> XenMonitor:
        return XenMonitor(self.dom0, self.pack, parameters=self._parameters, keys=self._keys)

    @cached_property
    def monitor(self) -> Monitor:
        """See Host.monitor."""
        return self._xen

    def pack(self, *, refresh: bool = False) -> XenPack:
        """See Host.pack."""
        return xen_pack(self.places, self.bus, target=self.target, mirror_uri=self.mirror_uri, refresh=refresh)

    @cached_property
    def network(self) -> Dom0Network:
        """See Host.network."""
        return Dom0Network(self.places, "default", ((BRIDGE, SUBNET),), target=self.dom0)

    def pool(self, group: str) -> LvmPool:
        """See Host.pool. A site's group is one inside of our volume group, any other a volume group of its own."""
        if group not in self._pools:
            self._pools[group] = self._new_pool(group)
        return self._pools[group]

    def _new_pool(self, group: str) -> LvmPool:
        write = self._fill or filling(self.dom0)

        def fill(image: Path, device: str, *, is_empty: bool) -> None:
            with self.bus.step(f"bring image {image.parent.name} to dom0"):
                write(image, device, is_empty=is_empty)

        vg = GROUP if group.startswith(SITE_GROUP) else group
        return LvmPool(self.dom0, vg, group, fill=fill, locks=self.places.state / "locks")

    def memory(self, group: str) -> XenMemory:
        """See Host.memory."""
        return XenMemory(self.dom0, group)

    def groups(self) -> Sequence[str]:
        """See Host.groups; of domains that are of no site."""
        return (GROUP,)

    def site_network(self, site: str, networks: Mapping[str, IPv4Network]) -> Dom0Network:
        """See Host.site_network."""
        return Dom0Network(self.places, network_name(site), tuple(networks.items()), target=self.dom0)

    def room(self) -> Room:
        """See Host.room. Warns, once, of a dom0 whose memory is not fixed."""
        info = self._xen.info()
        free_bytes = self.pool(GROUP).free_bytes()
        if not (info.is_fixed or self._is_warned):
            self._is_warned = True
            self.bus.warn(
                "dom0 has no memory of its own (dom0_mem of Xen is not set, or autoballoon of xl is on): guests that"
                f" are created wait for one another, and may get none. gridvisor host check {self.uri} tells what"
                " mends it"
            )
        # Beside its memory, Xen keeps page tables and a ring or two for each domain.
        return Room(info.free_mib, free_bytes, f"volume group {GROUP}", reserve_mib=16, overhead_mib=4)

    def facts(self) -> Mapping[str, object]:
        """See Host.facts; of dom0, and of Xen itself."""
        told = self._xen.info().facts
        keys = ("host", "release", "machine", "nr_cpus", "total_memory", "xen_version", "xen_commandline")
        return {key: int(told[key]) if told[key].isdigit() else told[key] for key in keys if key in told}

    def make_ready(self) -> bool:
        """See Host.make_ready."""
        return self._start()

    def pace(self) -> Pace:
        """See Host.pace."""
        return self._pace()


def host_at(host: Host, uri: str) -> Host:
    """The host that a monitor's URI names, seen from this machine; nothing is started.

    'auto' and 'uml' are this machine, 'xen' its own Xen, 'box' the Xen in its box, and 'xen+ssh://root@host:port' that
    of another machine. Raises Refused for anything else.
    """
    if uri == host.uri:
        return host
    if uri in ("auto", "uml"):
        return Host(host.places, host.bus, mirror_uri=host.mirror_uri)
    if uri == "xen":
        return XenHost(host, uri, dom0=lambda: host.target, start=_nothing)
    if uri == "box":
        box = box_of(host)
        return XenHost(
            host,
            uri,
            dom0=lambda: box.dom0,
            fill=box.fill,
            start=lambda: box.up(ask_again=False),
            parameters=GUEST_PARAMETERS,
            keys=GUEST_KEYS,
            pace=lambda: _pace_of(box),
        )
    dom0 = _ssh_of(uri)
    return XenHost(host, uri, dom0=lambda: dom0, start=_nothing)


def _nothing() -> bool:
    return False


def _pace_of(box: Box) -> Pace:
    told = box.status()
    return Pace() if told is None or told.hardware.accelerator != TCG else emulated(told.hardware.cpus)


def _ssh_of(uri: str) -> Ssh:
    try:
        told = urlsplit(uri)
        port = told.port
    except ValueError as error:
        raise Refused(f"'{uri}' cannot be read: {error}.") from error
    if told.scheme != _SSH or not told.hostname or told.path.strip("/") or told.query or told.password:
        raise Refused(f"'{uri}' is not a monitor.", hint="auto, uml, xen, xen+ssh://root@dom0, or box")
    sockets = socket_folder(os.environ if os.geteuid() else {}, uid=os.geteuid())
    return Ssh(host=told.hostname, user=told.username, port=port, sockets=sockets, via=Local())
