"""The kernel that Debian has compiled, as a Xen host wants it: unpacked, without what no paravirtual machine has."""

from __future__ import annotations

import lzma
import shutil
import struct
from pathlib import Path

from gridvisor.core.errors import ToolOutput
from gridvisor.kernel.making import Kernel
from gridvisor.run.command import Command
from gridvisor.run.target import Target

_TIMEOUT_S = 300
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


def unpacked(deb: Path, scratch: Path, target: Target) -> Kernel:
    """The kernel of a package `linux-image-*`, in the new folder `scratch`."""
    _run(target, "dpkg", "-x", str(deb), str(scratch))
    [vmlinuz] = (scratch / "boot").glob("vmlinuz-*")
    elf = scratch / "vmlinux"
    _unpack_kernel(payload_of(vmlinuz.read_bytes()), elf, target)
    [modules] = scratch.glob("**/lib/modules/*")
    for folder in _NOT_THERE:
        if (modules / "kernel" / folder).is_dir():  # the next kernel may have dropped it
            shutil.rmtree(modules / "kernel" / folder)
    _unpack_modules(modules)
    if not (lib := scratch / "lib").exists():  # where depmod looks; Debian 13 has it below /usr alone
        lib.symlink_to("usr/lib")
    _run(target, "depmod", "-b", str(scratch), modules.name)
    return Kernel(elf, modules)


def payload_of(image: bytes) -> bytes:
    """The packed ELF file in a bzImage, by its header (Documentation/arch/x86/boot.rst, protocol 2.08 and later)."""
    if image[0x202:0x206] != b"HdrS":
        raise ToolOutput("The kernel has no boot header: it is no bzImage.")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    return image[begin : begin + length - 4]  # the last four bytes are the size of what is packed


def _unpack_kernel(payload: bytes, elf: Path, target: Target) -> None:
    """Debian 13 packs its kernel with zstd, Debian 12 with xz."""
    if payload.startswith(b"\xfd7zXZ"):
        elf.write_bytes(lzma.decompress(payload))
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        packed = elf.with_name("vmlinux.zst")
        packed.write_bytes(payload)
        _run(target, "zstd", "-d", "-q", str(packed), "-o", str(elf))
    else:
        raise ToolOutput(f"The kernel is packed in a way that is not known: {payload[:6].hex()}")


def _unpack_modules(modules: Path) -> None:
    """Debian packs each with xz: unpacked here once, and not by each guest at each boot, by what may be emulation."""
    for packed in modules.rglob("*.ko.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()


def _run(target: Target, *argv: str) -> None:
    target.run(Command(argv), timeout_s=_TIMEOUT_S)
