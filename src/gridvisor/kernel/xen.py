"""The kernel pack for Xen: Debian's own hypervisor and kernel, as a Xen host wants them.

The kernel is an ELF file: `xl` and Xen itself unpack a compressed one, which takes most of the time of a create. It is
the one that Debian has compiled, or a trimmed one of the same source.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.files import locked, remove_left, write_whole
from gridvisor.core.places import Places
from gridvisor.kernel.making import SCRIPTS, Kernel, make_initramfs, make_modules
from gridvisor.kernel.pack import Kind
from gridvisor.kernel.packaged import unpacked
from gridvisor.kernel.trimmed import CONFIG, compiled
from gridvisor.package.apt import Apt, Candidate
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.run.command import Command
from gridvisor.run.target import Target

SUITE = "trixie"
# Part of a pack's id: count up when a pack is made differently from the same packages.
_FORMAT = 4
_TIMEOUT_S = 300
# Front ends of Xen, and of virtio for a Xen host in QEMU; what they need comes with them.
_DRIVERS = ("xen-blkfront", "xen-netfront", "virtio_blk", "virtio_net", "ext4", "crc32c_generic")


# The package that depends on the newest one of its kind, and how that one is called.
_PACKAGES = {
    Kind.PACKAGED: ("linux-image-amd64", r"linux-image-[0-9]\S*"),
    Kind.TRIMMED: ("linux-source", r"linux-source-[0-9]\S*"),
}


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
    places: Places,
    bus: Bus,
    *,
    target: Target,
    mirror_uri: str | None = None,
    refresh: bool = False,
    kind: Kind | None = None,
) -> XenPack:
    """The kernel pack for Xen: the one chosen before, or with `refresh` the newest that the mirror has.

    Without `kind` it is of the kind chosen before, at first Debian's. The mirror is asked only when a pack must be
    chosen or made. Raises CommandFailed when a tool or the mirror fails, Refused when a kernel is to be compiled by
    somebody who is not root.
    """
    kernels = places.cache / "kernels"
    chosen = kernels / "xen.json"
    if not refresh and (pack := _made(kernels, chosen, kind)):
        return pack
    with locked(kernels / "xen.lock"):
        # Whoever held the lock before us may have made it.
        if not refresh and (pack := _made(kernels, chosen, kind)):
            return pack
        kind = kind or _kind_of(chosen)
        mirror = mirror_of_this_machine(target, uri=mirror_uri)
        apt = Apt(places, mirror, target=target)
        apt.update(SUITE, force=refresh)
        names = {
            "kernel": _needed(apt, *_PACKAGES[kind]),
            "xen": _needed(apt, "xen-system-amd64", r"xen-hypervisor-[0-9]\S*"),
            "busybox": "busybox-static",
        }
        found = {what: _candidate(apt, name) for what, name in names.items()}
        parts = [_made_by(kind), *(f"{what} {one.sha256}" for what, one in found.items())]
        pack_id = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        folder = kernels / pack_id
        if not folder.is_dir():
            with bus.step(f"make the kernel pack of {names['kernel']}"):
                debs = {what: apt.download(SUITE, names[what]) for what in ("xen", "busybox")}

                def kernel(scratch: Path) -> Kernel:
                    if kind is Kind.PACKAGED:
                        return unpacked(apt.download(SUITE, names["kernel"]), scratch, target)
                    return compiled(
                        places, bus, package=names["kernel"], source=found["kernel"], mirror=mirror, target=target
                    )

                _make(folder, kernel, debs, target)
        told = {
            "id": pack_id,
            "made by": _made_by(kind),
            "kind": kind,
            "kernel": (folder / "version").read_text(),
            "xen": names["xen"].removeprefix("xen-hypervisor-").removesuffix("-amd64"),
        }
        write_whole(chosen, json.dumps(told, indent=1))
    pack = _made(kernels, chosen, kind)
    assert pack is not None
    return pack


def _made_by(kind: Kind) -> str:
    """A digest of what of ours goes into a pack."""
    parts = [str(_FORMAT), *SCRIPTS.values(), *([CONFIG.read_text()] if kind is Kind.TRIMMED else ())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _kind_of(chosen: Path) -> Kind:
    try:
        return Kind(json.loads(chosen.read_text())["kind"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Kind.PACKAGED


def _made(kernels: Path, chosen: Path, kind: Kind | None) -> XenPack | None:
    """The pack that was chosen; None when it is not there, of another kind, or was made by another version of us."""
    try:
        told = json.loads(chosen.read_text())
        pack = XenPack(told["id"], told["kernel"], told["xen"], kernels / told["id"])
        is_ours = told["made by"] == _made_by(Kind(told["kind"])) and pack.folder.is_dir()
        return pack if is_ours and kind in (None, told["kind"]) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _needed(apt: Apt, package: str, pattern: str) -> str:
    """The name of the package that `package`, which has nothing itself, depends on."""
    depends = _candidate(apt, package).depends
    match = re.search(rf"(?:^|\s)({pattern}?)(?=[\s,]|$)", depends)
    if match is None:
        raise ToolOutput(f"'{package}' depends on no {pattern}, but on: {depends}")
    return match[1]


def _candidate(apt: Apt, package: str) -> Candidate:
    candidate = apt.candidate(SUITE, package)
    if candidate is None:
        raise Refused(f"The mirror has no '{package}' in '{SUITE}'.", hint="Debian offers Xen for amd64 only")
    return candidate


def _make(folder: Path, kernel: Callable[[Path], Kernel], debs: dict[str, Path], target: Target) -> None:
    """Make the pack beside its place and move it there whole. The caller holds the lock."""
    for left_by_a_killed_run in folder.parent.glob(".making-xen-*"):
        remove_left(left_by_a_killed_run)
    work = folder.with_name(f".making-xen-{folder.name}")
    scratch = work / "scratch"
    scratch.mkdir(parents=True)
    try:
        made = kernel(scratch / "kernel")
        shutil.copyfile(made.vmlinux, work / "vmlinux")
        (work / "version").write_text(made.modules.name)
        _run(target, "dpkg", "-x", str(debs["xen"]), str(scratch / "xen"))
        [hypervisor] = (scratch / "xen/boot").glob("xen-*.gz")
        (work / "xen").write_bytes(gzip.decompress(hypervisor.read_bytes()))
        drivers = drivers_of(made.modules, _DRIVERS)
        make_initramfs(debs["busybox"], scratch / "initramfs", work / "initramfs", target, drivers=drivers)
        tree = scratch / "modules"
        # Links to the sources lead nowhere.
        shutil.copytree(
            made.modules, tree / made.modules.name, symlinks=True, ignore=shutil.ignore_patterns("build", "source")
        )
        # In a box, this is where its guests' kernel comes from.
        mine = tree / f"gridvisor-{folder.name}"
        mine.mkdir()
        for name in ("vmlinux", "initramfs"):
            (mine / name).hardlink_to(work / name)
        make_modules(tree, work / "modules.img", target)
        shutil.rmtree(scratch)
        _run(target, "chmod", "-R", "a-w,a+rX,u+w", str(work))
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
