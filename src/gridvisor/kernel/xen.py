"""The kernel pack for Xen: Debian's own kernel and hypervisor, as a Xen host wants them.

The kernel is an ELF file: `xl` and Xen itself unpack a compressed one, which takes most of the time of a create.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.files import locked, write_whole
from gridvisor.core.places import Places
from gridvisor.kernel.making import INIT, make_initramfs, make_modules
from gridvisor.package.apt import Apt
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.run.command import Command
from gridvisor.run.target import Target

SUITE = "trixie"
# Part of a pack's id: count up when a pack is made differently from the same packages.
_FORMAT = 3
_TIMEOUT_S = 300
# Front ends of Xen, and of virtio for a Xen host in QEMU; what they need comes with them.
_DRIVERS = ("xen-blkfront", "xen-netfront", "virtio_blk", "virtio_net", "ext4", "crc32c_generic")
# What no paravirtual machine has, nine tenths of Debian's modules: hardware, and networks without an Ethernet. Services
# ask for some of it all the same, and get it where it lies: systemd-networkd the whole of Wi-Fi, for its netlink.
_NOT_THERE = (
    "sound",
    *(
        f"net/{name}"
        for name in (
            *(
                "6lowpan",
                "appletalk",
                "atm",
                "ax25",
                "batman-adv",
                "bluetooth",
                "can",
                "ieee802154",
                "lapb",
                "mac80211",
            ),
            *("mac802154", "netrom", "nfc", "phonet", "qrtr", "rds", "rfkill", "rose", "tipc", "wireless"),
        )
    ),
    *(
        f"drivers/{name}"
        for name in (
            *(
                "accel",
                "accessibility",
                "android",
                "ata",
                "atm",
                "bcma",
                "bluetooth",
                "comedi",
                "cpufreq",
                "crypto",
                "cxl",
            ),
            *("devfreq", "dma", "edac", "extcon", "firewire", "gnss", "gpio", "gpu", "hid", "hv", "hwmon", "hwtracing"),
            *("i2c", "iio", "infiniband", "input", "iommu", "isdn", "leds", "media", "memstick", "mfd", "misc", "mmc"),
            *("mtd", "net/ethernet", "net/wireless", "nfc", "parport", "pcmcia", "pinctrl", "platform", "power"),
            *(
                "powercap",
                "pps",
                "pwm",
                "ras",
                "slimbus",
                "soc",
                "soundwire",
                "spi",
                "ssb",
                "staging",
                "tee",
                "thermal",
            ),
            *("thunderbolt", "ufs", "usb", "video", "w1", "watchdog"),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class XenPack:
    """Kernel `version` and hypervisor `xen` of a pack in `folder`, which is whole and never changes."""

    id: str
    version: str
    xen: str
    folder: Path

    @property
    def kernel(self) -> Path:
        """The kernel as an ELF file, for `kernel =` of xl.cfg(5), and for dom0."""
        return self.folder / "vmlinux"

    @property
    def initramfs(self) -> Path:
        """The file for `ramdisk =`: the init script of all our guests, with the drivers of Xen and virtio."""
        return self.folder / "initramfs"

    @property
    def modules(self) -> Path:
        """An ext4 image of what belongs on /lib/modules, to be attached read-only; with kernel and initramfs in it."""
        return self.folder / "modules.img"

    @property
    def hypervisor(self) -> Path:
        """Xen itself, as an ELF file that QEMU boots by the multiboot protocol."""
        return self.folder / "xen"


def xen_pack(
    places: Places, bus: Bus, *, target: Target, mirror_uri: str | None = None, refresh: bool = False
) -> XenPack:
    """The kernel pack for Xen: the one chosen before, or with `refresh` the newest that the mirror has.

    The mirror is asked only when a pack must be chosen or made. Raises CommandFailed when a tool or the mirror fails.
    """
    kernels = places.cache / "kernels"
    chosen = kernels / "xen.json"
    if not refresh and (pack := _made(kernels, chosen)):
        return pack
    with locked(kernels / "xen.lock"):
        # Whoever held the lock before us may have made it.
        if not refresh and (pack := _made(kernels, chosen)):
            return pack
        apt = Apt(places, mirror_of_this_machine(target, uri=mirror_uri), target=target)
        apt.update(SUITE, force=refresh)
        names = {
            "kernel": _needed(apt, "linux-image-amd64", r"linux-image-[0-9]\S*"),
            "xen": _needed(apt, "xen-system-amd64", r"xen-hypervisor-[0-9]\S*"),
            "busybox": "busybox-static",
        }
        found = {what: apt.candidate(SUITE, name) for what, name in names.items()}
        parts = [str(_FORMAT), INIT.read_text(), *(f"{what} {one and one.sha256}" for what, one in found.items())]
        pack_id = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        if not (kernels / pack_id).is_dir():
            with bus.step(f"make the kernel pack of {names['kernel']}"):
                debs = {what: apt.download(SUITE, name) for what, name in names.items()}
                _make(kernels, pack_id, debs, target)
        told = {
            "id": pack_id,
            "init": _digest_of_init(),
            "kernel": names["kernel"].removeprefix("linux-image-"),
            "xen": names["xen"].removeprefix("xen-hypervisor-").removesuffix("-amd64"),
        }
        write_whole(chosen, json.dumps(told, indent=1))
    pack = _made(kernels, chosen)
    assert pack is not None
    return pack


def _digest_of_init() -> str:
    return hashlib.sha256(f"{_FORMAT} {INIT.read_text()}".encode()).hexdigest()


def _made(kernels: Path, chosen: Path) -> XenPack | None:
    """The pack that was chosen; None when it is not there, or was made by another version of us."""
    try:
        told = json.loads(chosen.read_text())
        pack = XenPack(told["id"], told["kernel"], told["xen"], kernels / told["id"])
        return pack if told["init"] == _digest_of_init() and pack.folder.is_dir() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _needed(apt: Apt, package: str, pattern: str) -> str:
    """The name of the package that `package`, which has nothing itself, depends on."""
    candidate = apt.candidate(SUITE, package)
    if candidate is None:
        raise Refused(f"The mirror has no '{package}' in '{SUITE}'.", hint="Debian offers Xen for amd64 only")
    match = re.search(rf"(?:^|\s)({pattern}?)(?=[\s,]|$)", candidate.depends)
    if match is None:
        raise ToolOutput(f"'{package}' depends on no {pattern}, but on: {candidate.depends}")
    return match[1]


def _make(kernels: Path, pack_id: str, debs: dict[str, Path], target: Target) -> None:
    """Make the pack beside its place and move it there whole. The caller holds the lock."""
    for left_by_a_killed_run in kernels.glob(".making-xen-*"):
        shutil.rmtree(left_by_a_killed_run)
    work = kernels / f".making-xen-{pack_id}"
    scratch = work / "scratch"
    scratch.mkdir(parents=True)
    try:
        for what in ("kernel", "xen"):
            _run(target, "dpkg", "-x", str(debs[what]), str(scratch / what))
        [vmlinuz] = (scratch / "kernel/boot").glob("vmlinuz-*")
        _unpack(payload_of(vmlinuz.read_bytes()), work / "vmlinux", scratch, target)
        [hypervisor] = (scratch / "xen/boot").glob("xen-*.gz")
        (work / "xen").write_bytes(gzip.decompress(hypervisor.read_bytes()))
        [modules] = (scratch / "kernel").glob("**/lib/modules/*")
        for folder in _NOT_THERE:
            if (modules / "kernel" / folder).is_dir():  # the next kernel may have dropped it
                shutil.rmtree(modules / "kernel" / folder)
        _unpack_modules(modules)
        if not (lib := scratch / "kernel/lib").exists():  # where depmod looks; Debian 13 has it below /usr alone
            lib.symlink_to("usr/lib")
        _run(target, "depmod", "-b", str(lib.parent), modules.name)
        make_initramfs(
            debs["busybox"], scratch / "initramfs", work / "initramfs", target, drivers=drivers_of(modules, _DRIVERS)
        )
        # In a box, this is where its guests' kernel comes from.
        mine = modules.parent / f"gridvisor-{pack_id}"
        mine.mkdir()
        for name in ("vmlinux", "initramfs"):
            (mine / name).hardlink_to(work / name)
        make_modules(modules.parent, work / "modules.img", target)
        shutil.rmtree(scratch)
        _run(target, "chmod", "-R", "a-w,a+rX,u+w", str(work))
        work.rename(kernels / pack_id)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def payload_of(image: bytes) -> bytes:
    """The packed ELF file in a bzImage, by its header (Documentation/arch/x86/boot.rst, protocol 2.08 and later)."""
    if image[0x202:0x206] != b"HdrS":
        raise ToolOutput("The kernel has no boot header: it is no bzImage.")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    return image[begin : begin + length - 4]  # the last four bytes are the size of what is packed


def _unpack(payload: bytes, elf: Path, scratch: Path, target: Target) -> None:
    """Debian 13 packs its kernel with zstd, Debian 12 with xz."""
    if payload.startswith(b"\xfd7zXZ"):
        elf.write_bytes(lzma.decompress(payload))
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        packed = scratch / "vmlinux.zst"
        packed.write_bytes(payload)
        _run(target, "zstd", "-d", "-q", str(packed), "-o", str(elf))
    else:
        raise ToolOutput(f"The kernel is packed in a way that is not known: {payload[:6].hex()}")


def _unpack_modules(modules: Path) -> None:
    """Debian packs each with xz: unpacked here once, and not by each guest at each boot, by what may be emulation."""
    for packed in modules.rglob("*.ko.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()


def drivers_of(modules: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """Those modules and all that they need, in an order in which they can be loaded (depmod(8)).

    What is built into the kernel is left out.
    """
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[_name(path)] = (path, others.split())
    found: dict[str, bytes] = {}
    for name in map(_name, wanted):
        if name not in needs:
            continue
        module, needed = needs[name]
        for one in (*reversed(needed), module):
            found.setdefault(Path(one).name, (modules / one).read_bytes())
    return found


def _name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _run(target: Target, *argv: str) -> None:
    target.run(Command(argv), timeout_s=_TIMEOUT_S)
