"""A look inside a disk file without mounting it: the host's kernel never reads a guest's filesystem."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.run.command import Command
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

TIMEOUT_S = 30

# The superblock lies at 1024; s_magic is at 0x38 of it (Documentation/filesystems/ext4/super.rst).
_EXT_MAGIC = (1024 + 0x38, b"\x53\xef")
_MAGICS = (
    (0, b"QFI\xfb", "a qcow2 disk (convert it: qemu-img convert -O raw)"),
    (0, b"hsqs", "a squashfs filesystem"),
    (0, b"XFSB", "an XFS filesystem"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (0, b"\x1f\x8b", "a file compressed with gzip"),
    (0, b"\xfd7zXZ\x00", "a file compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "a file compressed with zstd"),
    (0, b"KDMV", "a VMware disk"),
    (0, b"\x7fELF", "a program (ELF)"),
    (257, b"ustar", "a tar archive"),
    (512, b"EFI PART", "a whole disk with a GPT partition table; give one partition of it"),
    (4086, b"SWAPSPACE2", "a swap area"),
    (0x8001, b"CD001", "a CD image (ISO 9660)"),
    (0x10040, b"_BHRfS_M", "a btrfs filesystem"),
    # Last, as boot sectors of other things carry it too.
    (510, b"\x55\xaa", "a whole disk with a partition table; give one partition of it"),
)
_HEAD_BYTES = 0x10048

_INITS = ("/sbin/init", "/usr/sbin/init", "/init")
_UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
_WANTS = "/etc/systemd/system/multi-user.target.wants"
_NETWORKD = "systemd-networkd.service"
_MANAGER = "NetworkManager.service"
# In this order: what is enabled wins over what is only installed.
_STYLES: tuple[tuple[NetworkStyle, tuple[tuple[str, ...], ...]], ...] = (
    (NetworkStyle.NETWORKD, ((f"{_WANTS}/{_NETWORKD}",),)),
    (NetworkStyle.NETWORKMANAGER, ((f"{_WANTS}/{_MANAGER}",),)),
    (NetworkStyle.IFCFG, (("/etc/sysconfig/network-scripts/ifup",), ("/etc/sysconfig/network-scripts/ifup-eth",))),
    (NetworkStyle.IFUPDOWN, (("/etc/network", "/sbin/ifup"), ("/etc/network", "/usr/sbin/ifup"))),
    (NetworkStyle.NETWORKD, tuple((f"{folder}/{_NETWORKD}",) for folder in _UNIT_FOLDERS)),
    (NetworkStyle.NETWORKMANAGER, tuple((f"{folder}/{_MANAGER}",) for folder in _UNIT_FOLDERS)),
    (NetworkStyle.IFCFG, (("/etc/sysconfig/network-scripts",),)),
)


def is_ext4(path: Path) -> bool:
    """True when the file or block device begins with the superblock of ext4 (or ext2, ext3, which it reads too)."""
    offset, magic = _EXT_MAGIC
    return _head(path)[offset : offset + len(magic)] == magic


def require_ext4(path: Path) -> None:
    """Raise Refused, saying what `path` looks like instead, unless it holds an ext4 filesystem."""
    if not is_ext4(path):
        raise Refused(
            f"'{path}' does not hold an ext4 filesystem: it looks like {looks_like(_head(path))}.",
            hint="a root volume is a filesystem without partitions, made by gridvisor image build or mke2fs -d",
        )


def looks_like(head: bytes) -> str:
    """In words, what a file is that begins with `head`."""
    for offset, magic, words in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return words
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a blank disk"
    text = head[:512]
    if all(byte in b"\t\n\r" or byte >= 0x20 for byte in text):
        return "a text file"
    return "nothing that is known"


def has_init(path: Path, *, target: Target | None = None) -> bool:
    """True when the filesystem in `path` has an `/sbin/init`, so that any kernel pack can boot it."""
    return bool(_present(path, _INITS, target=target))


def network_style(path: Path, *, target: Target | None = None) -> NetworkStyle:
    """The program that sets up the network in the guest whose root filesystem is in `path`.

    Raises Refused when it is not an ext4, or has none of the programs that we can write configuration for.
    """
    asked = {one for _, choices in _STYLES for choice in choices for one in choice}
    style = style_of(_present(path, sorted(asked), target=target))
    if style is None:
        raise Refused(
            f"'{path}' has no program that sets up a network which gridvisor knows.",
            hint=f"install one of {', '.join(NetworkStyle)} in it",
        )
    return style


def style_of(present: Collection[str]) -> NetworkStyle | None:
    """The style that follows from which of the telling files are `present`."""
    for style, choices in _STYLES:
        if any(all(name in present for name in choice) for choice in choices):
            return style
    return None


def missing_of(stderr: str) -> set[str]:
    """The paths that debugfs(8) did not find, from what it said on stderr."""
    return set(re.findall(r"^(/\S*): File not found by ext2_lookup", stderr, re.MULTILINE))


def _present(path: Path, names: Collection[str], *, target: Target | None) -> set[str]:
    if not isinstance(target, Ssh):
        require_ext4(path)
    stdin = "".join(f"stat {name}\n" for name in names).encode()
    # '--' is not known to debugfs, but an absolute path cannot be taken for an option.
    command = Command.of("debugfs", "-f", "-", str(path.absolute()), stdin=stdin)
    result = (target or Local()).run(command, timeout_s=TIMEOUT_S)
    if "Filesystem not open" in result.stderr:
        raise ToolOutput(f"debugfs cannot open '{path}': {result.stderr.strip()}", hint=f"e2fsck -f {path}")
    return set(names) - missing_of(result.stderr)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise Refused(f"There is no file '{path}'.") from error
    except IsADirectoryError as error:
        raise Refused(f"'{path}' is a folder, not a disk.") from error
    except PermissionError as error:
        raise Refused(f"'{path}' may not be read by this user.", hint="sudo gridvisor ...") from error
