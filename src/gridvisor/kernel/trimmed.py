"""A kernel for paravirtual machines and nothing else, compiled of Debian's own source.

`xl create` copies the whole kernel into each guest, and an emulated processor takes seconds for that; what Debian's
does for hardware, and against faults of it, takes more of them at each boot.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from pathlib import Path

from gridvisor.core.events import Bus
from gridvisor.core.files import remove_left
from gridvisor.core.places import Places
from gridvisor.image.mmdebstrap import mmdebstrap, write_options
from gridvisor.kernel.making import Kernel
from gridvisor.package.apt import Candidate, source_line
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command
from gridvisor.run.target import Target

_FILES = Path(__file__).parent / "compile"
CONFIG, _COMPILE = _FILES / "config", _FILES / "compile.sh"
_TOOLS = ("gcc", "libc6-dev", "make", "flex", "bison", "bc", "libelf-dev", "kmod", "xz-utils")
_TIMEOUT_S = 7200


def compiled(places: Places, bus: Bus, *, package: str, source: Candidate, mirror: Mirror, target: Target) -> Kernel:
    """The kernel of that source package; compiled in some twenty minutes of two processors, and kept for other packs.

    The caller holds the lock of kernel packs. Raises CommandFailed with what the compiler said last.
    """
    id = hashlib.sha256("\n".join((source.sha256, CONFIG.read_text(), _COMPILE.read_text())).encode()).hexdigest()
    folder = places.cache / "kernels" / f"compiled-{id[:16]}"
    if not folder.is_dir():
        work = folder.with_name(f".{folder.name}")
        for left_by_a_killed_run in folder.parent.glob(".compiled-*"):
            remove_left(left_by_a_killed_run)
        work.mkdir(parents=True)
        try:
            with bus.step(f"compile {package}"):
                write_options(mirror, work)
                argv = _argv(package, source.suite, mirror, work)
                target.run(Command(argv, {"TMPDIR": str(work)}), timeout_s=_TIMEOUT_S)
            (work / "out").rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    [modules] = (folder / "lib/modules").iterdir()
    return Kernel(folder / "vmlinux", modules)


def _argv(package: str, suite: str, mirror: Mirror, work: Path) -> tuple[str, ...]:
    """The words that leave the kernel in `work`/out, and nothing of the Debian that it was compiled in."""
    return mmdebstrap(
        work,
        *("--variant=apt", f"--include={','.join((*_TOOLS, package))}"),
        f"--customize-hook=copy-in {shlex.quote(str(CONFIG))} {shlex.quote(str(_COMPILE))} /",
        f'--customize-hook=chroot "$1" sh /{_COMPILE.name} {os.cpu_count() or 1}',
        f"--customize-hook=copy-out /out {shlex.quote(str(work))}",
        *(suite, "/dev/null", source_line(mirror, suite).strip()),
    )
