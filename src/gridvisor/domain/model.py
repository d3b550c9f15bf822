"""What a domain should be: plain data, the same whatever monitor runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# A name becomes a folder, a tap, a host name and an argument of `xl`: RFC 1123's letters, and `_` for old files.
NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


class DomainType(StrEnum):
    """xl.cfg(5) `type`: paravirtual, paravirtual in a hardware container, or fully virtual."""

    PV = "pv"
    PVH = "pvh"
    HVM = "hvm"


class OnEnd(StrEnum):
    """What becomes of a domain that powered off, rebooted or crashed (xl.cfg(5), "Event Actions")."""

    DESTROY = "destroy"
    RESTART = "restart"
    RENAME_RESTART = "rename-restart"
    PRESERVE = "preserve"
    COREDUMP_DESTROY = "coredump-destroy"
    COREDUMP_RESTART = "coredump-restart"
    SOFT_RESET = "soft-reset"


class DiskFormat(StrEnum):
    """How the bytes of a disk's backing are laid out (xl-disk-configuration(5))."""

    RAW = "raw"
    QCOW = "qcow"
    QCOW2 = "qcow2"
    QED = "qed"
    VHD = "vhd"


@dataclass(frozen=True, slots=True)
class Disk:
    """One virtual disk. `target` is a device node or file as the configuration names it; `vdev` the guest's name.

    `options` keeps what concerns Xen alone, as it was written: 'backendtype=phy', 'discard', 'direct-io-safe'.
    """

    target: str
    vdev: str
    format: DiskFormat = DiskFormat.RAW
    writable: bool = True
    cdrom: bool = False
    backend: str | None = None
    script: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vif:
    """One network interface (xl-network-configuration(5)). `mac` is in lower case; None: chosen by us.

    `options` keeps what concerns Xen alone, as it was written: 'devid=1', 'mtu=9000'.
    """

    mac: str | None = None
    bridge: str | None = None
    ip: str | None = None
    model: str | None = None
    script: str | None = None
    backend: str | None = None
    vifname: str | None = None
    rate: str | None = None
    type: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain. Memory is in MiB. `other` keeps the keys that we do not know, as xl would read them."""

    name: str
    memory_mib: int = 128
    maxmem_mib: int | None = None
    vcpus: int = 1
    type: DomainType = DomainType.PV
    kernel: str | None = None
    ramdisk: str | None = None
    bootloader: str | None = None
    root: str | None = None
    extra: str | None = None
    disks: tuple[Disk, ...] = ()
    vifs: tuple[Vif, ...] = ()
    dhcp: bool = False
    ip: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    hostname: str | None = None
    on_poweroff: OnEnd = OnEnd.DESTROY
    on_reboot: OnEnd = OnEnd.RESTART
    on_crash: OnEnd = OnEnd.DESTROY
    other: Mapping[str, ConfigValue] = field(default_factory=dict)


# xl's files have no floating point, no negative numbers and no nothing: what xm wrote so is kept as a string.
ConfigValue = str | int | list["ConfigValue"]
