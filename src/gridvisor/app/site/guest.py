"""A machine of a site as the monitor gets it: its files, its volumes, its cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from gridvisor.app.site.deployment import Deployment, address_of
from gridvisor.domain.model import Disk, Domain, OnEnd, Vif
from gridvisor.identity.files import identity_files
from gridvisor.identity.grid_security import grid_security, user_globus
from gridvisor.identity.keys import access_key, host_key, known_hosts_line, machine_id
from gridvisor.identity.model import Identity, IdentityEntry, IdentityFile, IdentityLink, Interface
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.image.store import Image
from gridvisor.kernel.pack import Pack
from gridvisor.monitor.protocol import Attachment, Guest, Nic, VolumeUse
from gridvisor.network.address import tap_name
from gridvisor.network.wiring import Published
from gridvisor.roles.context import (
    AuthorityView,
    Context,
    MachineView,
    SiteView,
    UserView,
    accounts_of,
)
from gridvisor.roles.render import render
from gridvisor.site.machine import Machine

USER_INTERFACE = "ui"  # the role whose machines have the site's users, with their certificates


@dataclass(frozen=True, slots=True)
class SiteVolume:
    """A volume of a machine: its name in the site's pool, and its size. A root has none: it is a clone of the image."""

    name: str
    use: VolumeUse
    size_mib: int = 0
    label: str = ""


def site_volumes(machine: Machine) -> tuple[SiteVolume, ...]:
    """The volumes that the machine needs, in the order of its disks."""
    swap = machine.role.swap_mib
    return (
        SiteVolume(f"{machine.name}-disk", VolumeUse.ROOT),
        *((SiteVolume(f"{machine.name}-swap", VolumeUse.SWAP, swap),) if swap else ()),
        *(
            SiteVolume(f"{machine.name}-{name}", VolumeUse.DATA, volume.size_mib, name)
            for name, volume in machine.volumes.items()
        ),
    )


def entries_of(machine: Machine, deployment: Deployment) -> tuple[IdentityEntry, ...]:
    """Every file that makes this machine out of its image, sorted by path; a role's own file wins over ours."""
    authority = deployment.authority
    key = host_key(deployment.folder_of(machine))
    identity = Identity(
        hostname=machine.name,
        dns_domain=deployment.site.domain,
        machine_id=machine_id(deployment.folder_of(machine)),
        interfaces=tuple(
            Interface(
                nic.mac,
                name=f"eth{index}",
                address=IPv4Interface((nic.address, deployment.site.networks[nic.network].prefixlen)),
                gateway=nic.gateway,
            )
            for index, nic in enumerate(machine.interfaces)
        ),
        hosts=_hosts(machine, deployment),
        search=(deployment.site.domain,),
        host_keys=(key,),
        authorized_keys=(access_key(deployment.host.places.state / "keys").public,),
    )
    ours = (
        *identity_files(identity, NetworkStyle.NETWORKD),
        *grid_security(authority, authority.host_credential(machine.fqdn, (machine.fqdn, machine.name))),
        *_mounts(machine),
        *(_users(deployment) if machine.role.name == USER_INTERFACE else ()),
    )
    theirs = render(machine.role, context_of(machine, deployment))
    by_path = {entry.path: entry for entry in (*ours, *theirs)}
    return tuple(by_path[path] for path in sorted(by_path))


def known_hosts_of(machine: Machine, deployment: Deployment) -> str:
    """The line by which ssh knows the machine."""
    return known_hosts_line(str(address_of(machine)), host_key(deployment.folder_of(machine)))


def context_of(machine: Machine, deployment: Deployment) -> Context:
    """What the machine's templates see."""
    site, authority = deployment.site, deployment.authority
    users = tuple(
        UserView(
            user.name,
            user.vo,
            authority.user_credential(user.name).dn,
            deployment.ids.users[user.name],
            f"/home/{user.name}",
        )
        for user in site.users
    )
    views = {other.name: _view(other) for other in deployment.machines}
    return Context(
        site=SiteView(site.site, site.domain, tuple(site.vos), users, site.networks),
        machine=views[machine.name],
        machines=tuple(views.values()),
        accounts=accounts_of({vo: deployment.ids.vos[vo] for vo in site.vos}),
        ca=AuthorityView(authority.dn, authority.hash),
        secret=deployment.secrets.get,
    )


def guest_of(machine: Machine, deployment: Deployment, *, image: Image, pack: Pack, identity_id: str) -> Guest:
    """The machine as its monitor boots it; the paths are those of volumes that may not be there yet."""
    network = deployment.network
    nics = tuple(Nic(nic.mac, tap_name(deployment.host.places.tag, nic.mac, 0)) for nic in machine.interfaces)
    volumes = tuple(_attachment(volume, deployment, image) for volume in site_volumes(machine))
    wiring = network.wiring(
        {nic.tap: network.bridge_of(card.network) for nic, card in zip(nics, machine.interfaces, strict=True)},
        published_of(machine),
    )
    return Guest(
        domain=Domain(
            name=deployment.domain_name(machine),
            memory_mib=machine.memory_mib + deployment.host.kernel_mib,
            vcpus=machine.vcpus,
            hostname=machine.name,
            disks=tuple(
                Disk(f"{deployment.pool_name}/{volume.name}", f"xvda{index}")
                for index, volume in enumerate(site_volumes(machine), start=1)
            ),
            vifs=tuple(
                Vif(mac=nic.mac, bridge=network.bridge_of(nic.network), ip=str(nic.address))
                for nic in machine.interfaces
            ),
            on_crash=OnEnd.PRESERVE,  # so that it can be told which machine crashed, and when
        ),
        volumes=(
            *volumes,
            Attachment(VolumeUse.IDENTITY, identity_path(machine, deployment), writable=False),
            Attachment(VolumeUse.MODULES, pack.modules, writable=False),
        ),
        nics=nics,
        namespace=network.namespace,
        address=str(address_of(machine)),
        identity_id=identity_id,
        before=wiring.before,
        companions=wiring.companions,
        after=wiring.after,
    )


def published_of(machine: Machine) -> tuple[Published, ...]:
    """The machine's ports that are to answer on this machine."""
    return tuple(Published(port, address_of(machine), guest_port) for port, guest_port in machine.publish.items())


def identity_path(machine: Machine, deployment: Deployment) -> Path:
    """Where the machine's identity is written."""
    return deployment.folder_of(machine) / "identity.tar"


def _attachment(volume: SiteVolume, deployment: Deployment, image: Image) -> Attachment:
    backing = image.path if volume.use is VolumeUse.ROOT else None
    return Attachment(volume.use, deployment.pool.path_of(volume.name), writable=True, backing=backing)


def _hosts(machine: Machine, deployment: Deployment) -> tuple[tuple[IPv4Address, tuple[str, ...]], ...]:
    """Every machine of the site at the address that this one reaches it by: in a network of both if there is one."""
    mine = [nic.network for nic in machine.interfaces]

    def nearest(other: Machine) -> IPv4Address:
        by_network = {nic.network: nic.address for nic in other.interfaces}
        shared = (by_network[network] for network in mine if network in by_network)
        return next(shared, address_of(other))

    return tuple((nearest(other), (other.fqdn, other.name)) for other in deployment.machines)


def _mounts(machine: Machine) -> Iterator[IdentityEntry]:
    """A unit for each volume: by its label, since what a disk is called differs from monitor to monitor.

    Not a .mount unit: those wait for udev to have seen the disk, which our base image spares itself.
    """
    for name, volume in machine.volumes.items():
        unit = f"volume-{name}.service"
        text = (
            f"[Unit]\nDescription=Volume {name} on {volume.mount}\nDefaultDependencies=no\n"
            "After=systemd-remount-fs.service\nBefore=local-fs.target shutdown.target\nConflicts=shutdown.target\n\n"
            "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            f"ExecStart=/bin/mkdir -p {volume.mount}\nExecStart=/bin/mount -o noatime LABEL={name} {volume.mount}\n"
            f"ExecStop=/bin/umount {volume.mount}\n"
        )
        yield IdentityFile(f"/etc/systemd/system/{unit}", text.encode())
        yield IdentityLink(f"/etc/systemd/system/local-fs.target.wants/{unit}", f"../{unit}")


def _users(deployment: Deployment) -> Iterator[IdentityEntry]:
    for user in deployment.site.users:
        credential = deployment.authority.user_credential(user.name)
        yield from user_globus(f"/home/{user.name}", credential, uid=deployment.ids.users[user.name])


def _view(machine: Machine) -> MachineView:
    addresses = {nic.network: nic.address for nic in machine.interfaces}
    return MachineView(
        machine.name,
        machine.fqdn,
        machine.role.name,
        machine.memory_mib,
        machine.vcpus,
        address_of(machine),
        addresses,
    )
