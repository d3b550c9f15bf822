"""A guest as a configuration file for `xl`, which is usable without us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from gridvisor.domain.model import Disk, OnEnd, Vif
from gridvisor.domain.writer import write_config
from gridvisor.kernel.parameters import IdentityDevice, boot_parameters
from gridvisor.monitor.protocol import Attachment, Guest, VolumeUse

HEAD = "# Made by gridvisor, which removes it with the domain.\n"


# Each line of a console goes through dom0, and systemd draws several in each second in which it waits. What fails is
# shown as ever.
_CONSOLE = ("console=hvc0", "quiet", "systemd.show_status=error")


def xl_config(
    guest: Guest,
    *,
    uuid: str,
    kernel: str,
    ramdisk: str,
    script: str,
    parameters: Sequence[str] = (),
    keys: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The file for xl.cfg(5); kernel and ramdisk are paths in dom0, as are those of the volumes, which that `script`
    of Xen's folder for such attaches; `parameters` are more words for the guest's kernel, `keys` more of xl's own.

    A crashed domain is always preserved: a monitor shows it until it is destroyed, or its name is taken anew.
    """
    domain = guest.domain
    preserve = domain.on_crash in (OnEnd.DESTROY, OnEnd.PRESERVE)
    return HEAD + write_config(
        replace(
            domain,
            kernel=kernel,
            ramdisk=ramdisk,
            bootloader=None,
            root=None,
            extra=" ".join((*_CONSOLE, *parameters, *_parameters(guest), *(domain.extra or "").split())),
            disks=tuple(_disk(index, volume, script) for index, volume in enumerate(guest.volumes)),
            vifs=_vifs(guest),
            # These are told by the identity; xl has nothing to do with them.
            ip=None,
            netmask=None,
            gateway=None,
            hostname=None,
            dhcp=False,
            on_crash=OnEnd.PRESERVE if preserve else domain.on_crash,
            other={**keys, **domain.other, "uuid": uuid},
        )
    )


def _parameters(guest: Guest) -> Sequence[str]:
    identities = _devices(guest.volumes, VolumeUse.IDENTITY)
    return boot_parameters(
        _devices(guest.volumes, VolumeUse.ROOT)[0],
        IdentityDevice(identities[0], guest.identity_id or "") if identities else None,
        modules=next(iter(_devices(guest.volumes, VolumeUse.MODULES)), None),
        swaps=_devices(guest.volumes, VolumeUse.SWAP),
    )


def _devices(volumes: Sequence[Attachment], use: VolumeUse) -> list[str]:
    return [_device(index) for index, volume in enumerate(volumes) if volume.use is use]


def _device(index: int) -> str:
    return f"xvd{chr(ord('a') + index)}"


def _disk(index: int, volume: Attachment, script: str) -> Disk:
    return Disk(str(volume.path), _device(index), writable=volume.writable, script=script)


def _vifs(guest: Guest) -> tuple[Vif, ...]:
    """The interfaces as they were joined: each with its MAC, and with the name that dom0 has for it."""
    bridges = (vif.bridge for vif in guest.domain.vifs)
    return tuple(
        Vif(mac=nic.mac, bridge=bridge, vifname=nic.tap) for nic, bridge in zip(guest.nics, bridges, strict=True)
    )
