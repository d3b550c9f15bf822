"""What every kernel pack has, whatever the kernel: an initramfs with our scripts, and an image of modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.errors import ToolOutput
from gridvisor.run.command import Command, script
from gridvisor.run.target import Target

_FOLDER = Path(__file__).parent / "initramfs"
# What an initramfs has of ours, by its path there; a change of these texts makes another kernel pack.
SCRIPTS = {path: (_FOLDER / Path(path).name).read_text() for path in ("init", "sbin/poweroff")}
_APPLETS = ("sh", "mount", "mkdir", "cat", "sleep", "sync", "tar", "dd", "mkswap", "swapon", "switch_root", "insmod")
_TIMEOUT_S = 300
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel as an ELF file, and the tree of its modules, which is called as its version."""

    vmlinux: Path
    modules: Path


def make_modules(tree: Path, image: Path, target: Target) -> None:
    """Write `tree` into the ext4 file `image`, without mounting anything."""
    words = ("-q", "-t", "ext4", "-b", str(_BLOCK), "-m", "0", "-O", "^has_journal,^resize_inode,^metadata_csum")
    inodes, blocks = size_of_tree(tree)
    target.run(
        Command(("mke2fs", *words, "-N", str(inodes), "-d", str(tree), str(image), str(blocks))), timeout_s=_TIMEOUT_S
    )


def size_of_tree(tree: Path) -> tuple[int, int]:
    """Inodes and 4 KiB blocks of an ext4 filesystem that `tree` fits in: its own need and a little more."""
    sizes = [path.lstat().st_size for path in tree.rglob("*")]
    data = sum(-(-size // _BLOCK) for size in sizes)
    inodes = len(sizes) + 64
    # 256 bytes an inode; group tables, extents of folders and bitmaps stay below a fiftieth.
    return inodes, data + inodes * 256 // _BLOCK + data // 50 + 1024


def make_initramfs(
    busybox_deb: Path, scratch: Path, initramfs: Path, target: Target, *, drivers: Mapping[str, bytes] | None = None
) -> None:
    """Pack our scripts and a static busybox as newc cpio (kernel: Documentation/driver-api/early-userspace).

    `drivers` are modules by their file names, in the order in which they are to be loaded.
    """
    tree = scratch / "tree"
    for folder in ("bin", "sbin", "dev", "proc", "sys", "new"):
        (tree / folder).mkdir(parents=True)
    target.run(Command(("dpkg", "-x", str(busybox_deb), str(scratch / "busybox"))), timeout_s=_TIMEOUT_S)
    busybox = next((scratch / "busybox").glob("**/bin/busybox"), None)
    if busybox is None:
        raise ToolOutput(f"The package {busybox_deb} has no bin/busybox.")
    busybox.rename(tree / "bin/busybox")
    for applet in _APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    for path, text in SCRIPTS.items():
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)
    if drivers:
        (tree / "drivers").mkdir()
        for name, content in drivers.items():
            (tree / "drivers" / name).write_bytes(content)
        (tree / "drivers/order").write_text("".join(f"{name}\n" for name in drivers))
    # Not compressed: 2 MB from the page cache, and boots with gzip were no faster.
    pack = 'cd "$1" && find . | LC_ALL=C sort | cpio --quiet --create --format=newc --reproducible --owner=0:0 > "$2"'
    target.run(script(pack, str(tree), str(initramfs)), timeout_s=_TIMEOUT_S)
