"""The story of `domain create`: from a configuration file to a guest that answers ssh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface

from gridvisor.app.capacity import Room, check_disk, check_memory, outstanding_mib
from gridvisor.app.host import Host
from gridvisor.app.image import base_image
from gridvisor.app.machine import Machine
from gridvisor.app.network import joined
from gridvisor.app.volumes import (
    There,
    WantedVolume,
    attach,
    missing_bytes,
    require_volumes,
    root_image_is_needed,
    users_of,
    volumes_there,
    wanted_volumes,
)
from gridvisor.app.xen_host import XenHost
from gridvisor.core.errors import Refused, Unsupported
from gridvisor.core.files import write_whole
from gridvisor.domain.model import Domain
from gridvisor.identity.files import identity_files
from gridvisor.identity.keys import access_key, host_key, known_hosts_line, machine_id
from gridvisor.identity.model import Identity, Interface
from gridvisor.identity.tarball import write_identity
from gridvisor.image.inspect import network_style
from gridvisor.image.store import Image
from gridvisor.monitor.protocol import Attachment, DomainRow, Guest, Nic, State, VolumeUse
from gridvisor.network.dom0 import Dom0Network
from gridvisor.network.namespace import check_able
from gridvisor.network.publish import check_free
from gridvisor.network.wiring import Published


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for beside the domain: which image a new root is made of, and which ports to publish.

    `publish` maps a port of 127.0.0.1 on this machine to a port of the guest.
    """

    domain: Domain
    image: str | None = None
    publish: Mapping[int, int] = field(default_factory=dict)
    paused: bool = False
    overcommit: bool = False


def create_domain(wish: Wish, host: Host) -> DomainRow:
    """Boot a new domain; when it cannot be, nothing stays but its volumes."""
    host.make_ready()
    domain = wish.domain
    bus = host.bus
    wanted = wanted_volumes(domain, lvm=isinstance(host.network, Dom0Network))
    with ThreadPoolExecutor() as looking:  # to a dom0 that is far, or emulated, it is the way there that takes long
        volumes_seen = looking.submit(volumes_there, wanted, host.pool)
        room_seen = looking.submit(host.room)
        rows_seen = looking.submit(host.monitor.list)
    there, has, rows = volumes_seen.result(), room_seen.result(), rows_seen.result()
    _refuse_what_does_not_fit(wish, wanted, there, has, rows, host)
    with bus.step("kernel pack", where=domain.name):
        modules = Attachment(VolumeUse.MODULES, host.pack().modules, writable=False)
    with bus.step("image", where=domain.name):
        image = base_image(host, wish.image) if root_image_is_needed(wanted, there) else None
    if not wish.overcommit:
        missing = missing_bytes(wanted, there, image.path.stat().st_size if image else 0)
        check_disk(missing, has=has, unless="`domain create --overcommit`")
    with ThreadPoolExecutor() as beside:  # the network is brought up meanwhile
        volumes_made = beside.submit(_volumes, domain, wanted, there, image, host)
        machine = host.machines.settle(domain, host.network.subnet)
        with joined(domain, machine, host) as nics:
            volumes = volumes_made.result()
            with bus.step("identity", where=domain.name):
                identity_id = _write_identity(domain, machine, volumes, host)
            with bus.step("domain", where=domain.name):
                identity = Attachment(VolumeUse.IDENTITY, machine.folder / "identity.tar", writable=False)
                guest = _guest(wish, machine, (*volumes, identity, modules), nics, host)
                return host.monitor.create(replace(guest, identity_id=identity_id), paused=wish.paused)


def _volumes(
    domain: Domain, wanted: tuple[WantedVolume, ...], there: There, image: Image | None, host: Host
) -> tuple[Attachment, ...]:
    with host.bus.step("volumes", where=domain.name):
        volumes = attach(wanted, there, host.pool, image)
        if any(volume.file or volume.label in there for volume in wanted):  # what was only made now, nobody uses
            _refuse_shared(volumes, host)
    return volumes


def _refuse_what_does_not_fit(
    wish: Wish, wanted: tuple[WantedVolume, ...], volumes: There, has: Room, rows: Sequence[DomainRow], host: Host
) -> None:
    """Everything that can be known to be wrong before the first thing is made."""
    domain = wish.domain
    there = next((row for row in rows if row.name == domain.name and row.state is not State.CRASHED), None)
    if there is not None:
        what = f"it is {there.state}" if there.ours else "gridvisor did not make it"
        destroy = f"gridvisor domain destroy {domain.name}, or " if there.ours else ""
        raise Refused(f"A domain '{domain.name}' exists already; {what}.", hint=f"{destroy}another name: name=NAME")
    outstanding = outstanding_mib(rows, overhead_mib=has.overhead_mib)
    check_memory(domain.memory_mib, has=has, outstanding=outstanding)
    if domain.vcpus > 1 and host.monitor.name == "uml":
        host.bus.warn(f"vcpus={domain.vcpus}: this monitor's kernel has one processor a guest; it gets 1.")
    if domain.kernel or domain.bootloader:
        host.bus.note("kernel, ramdisk and bootloader are left out: guests boot with a kernel of ours")
    for vif in domain.vifs:
        if vif.bridge not in (None, host.network.bridge):
            raise Refused(
                f"There is no bridge '{vif.bridge}' in the network of this host's domains.",
                hint=f"its bridge is '{host.network.bridge}'; leave the key out and it is taken",
            )
    if isinstance(host.network, Dom0Network):
        if domain.dhcp or wish.publish:
            what = "a lease of DHCP" if domain.dhcp else "published ports"
            raise Unsupported(f"A single domain on Xen has no {what}.", hint="a site file has published ports")
        if file := next((volume.file for volume in wanted if volume.file), None):
            raise Unsupported(f"'{file}' is a file; guests on Xen get volumes of LVM.", hint="phy:vg0/NAME-disk")
    elif domain.vifs:
        check_able()
    for port in wish.publish:
        check_free(port)
    require_volumes(wanted, volumes)


def _guest(wish: Wish, machine: Machine, volumes: tuple[Attachment, ...], nics: tuple[Nic, ...], host: Host) -> Guest:
    domain = wish.domain
    bridge = host.network.bridge_of(host.network.bridge)
    wiring = host.network.wiring(
        {nic.tap: bridge for nic in nics},
        tuple(Published(port, machine.address, guest_port) for port, guest_port in wish.publish.items()),
    )
    return Guest(
        domain=replace(domain, vifs=tuple(replace(vif, bridge=bridge) for vif in domain.vifs)),
        volumes=volumes,
        nics=nics,
        namespace=host.network.namespace if nics else None,
        address=str(machine.address) if nics else None,
        before=wiring.before,
        companions=wiring.companions,
        after=wiring.after,
    )


def _refuse_shared(volumes: tuple[Attachment, ...], host: Host) -> None:
    """Two kernels that write one file system destroy it."""
    users = users_of(host.monitor)
    for volume in volumes:
        if volume.writable and (user := users.get(volume.path)) is not None:
            raise Refused(f"'{volume.path}' is a disk of the domain '{user}'.", hint=f"gridvisor domain destroy {user}")


def _write_identity(domain: Domain, machine: Machine, volumes: tuple[Attachment, ...], host: Host) -> str:
    root = next(volume for volume in volumes if volume.use is VolumeUse.ROOT)
    subnet = host.network.subnet
    gateway = IPv4Address(domain.gateway) if domain.gateway else None
    static = IPv4Interface((machine.address, subnet.prefixlen))
    key = host_key(machine.folder)
    identity = Identity(
        hostname=domain.hostname or domain.name,
        machine_id=machine_id(machine.folder),
        interfaces=tuple(
            Interface(
                mac,
                name=f"eth{index}",
                address=None if domain.dhcp or index else static,
                gateway=None if domain.dhcp or index else gateway,
            )
            for index, mac in enumerate(machine.macs)
        ),
        host_keys=(key,),
        authorized_keys=(access_key(host.places.state / "keys").public,),
    )
    there = host.dom0 if isinstance(host, XenHost) and root.backing is None else None
    style = network_style(root.backing or root.path, target=there)
    write_whole(machine.folder / "known_hosts", known_hosts_line(str(machine.address), key))
    return write_identity(identity_files(identity, style), machine.folder / "identity.tar")
