"""The kernel pack for User-Mode Linux, made from Debian's own packages."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.files import locked, remove_left, write_whole
from gridvisor.core.places import Places
from gridvisor.kernel.making import SCRIPTS, make_initramfs, make_modules
from gridvisor.kernel.pack import KernelPack, Mode
from gridvisor.package.apt import Apt, Candidate
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.run.command import Command, CommandFailed
from gridvisor.run.target import Target

# Newest first. A mirror need not have them all.
SUITES = ("sid", "testing", "trixie")
KERNEL = "user-mode-linux"
# The kernel's threads need libgcc_s to end: without it a guest that reboots aborts ("pthread_cancel", seen with 7.2).
LIBRARIES = ("libc6", "libgcc-s1")
PACKAGES = (KERNEL, *LIBRARIES, "busybox-static")
FIRST_WITH_SECCOMP = (6, 16)

# Part of a pack's id: count up when a pack is made differently from the same packages.
_FORMAT = 1
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Choice:
    """The packages that a pack is made from: one suite, so that the C library fits the kernel."""

    suite: str
    packages: Mapping[str, Candidate]

    @property
    def version(self) -> str:
        """The version of the kernel's package."""
        return self.packages[KERNEL].version

    @property
    def id(self) -> str:
        """The same for the same packages, scripts of ours and way of making."""
        parts = (str(_FORMAT), *SCRIPTS.values(), *(f"{name} {self.packages[name].sha256}" for name in PACKAGES))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def uml_pack(
    places: Places, bus: Bus, *, target: Target, mirror_uri: str | None = None, refresh: bool = False
) -> KernelPack:
    """The kernel pack for User-Mode Linux: the one chosen before, or with `refresh` the newest that the mirror has.

    Without `mirror_uri` the mirror is that of this machine's apt; it is asked only when a pack must be chosen or
    made. Raises Refused when none of its suites has the kernel, CommandFailed when a tool or the mirror fails.
    """
    kernels = places.cache / "kernels"
    chosen = kernels / "current.json"
    if not refresh and (pack := _made(kernels, _read_choice(chosen))):
        return pack
    with locked(kernels / "lock"):
        # Whoever held the lock before us may have made it.
        if not refresh and (pack := _made(kernels, _read_choice(chosen))):
            return pack
        apt = Apt(places, mirror_of_this_machine(target, uri=mirror_uri), target=target)
        choice = choose(apt, bus, refresh=refresh)
        pack = _made(kernels, choice)
        if pack is None:
            with bus.step(f"make the kernel pack of {KERNEL} {choice.version}"):
                pack = _make(kernels, choice, apt, target)
        write_whole(chosen, json.dumps(asdict(choice), indent=1))
    (bus.note if pack.mode is Mode.SECCOMP else bus.warn)(pack.note)
    return pack


def choose(apt: Apt, bus: Bus, *, refresh: bool = False) -> Choice:
    """The newest kernel that the mirror offers, with what goes beside it. Raises as `uml_pack` does."""
    unanswered: CommandFailed | None = None
    for suite in SUITES:
        try:
            apt.update(suite, force=refresh)
        except CommandFailed as error:
            why = (error.result.stderr.strip().splitlines() or ["it did not say why"])[-1]
            bus.warn(f"The mirror gives no package lists of '{suite}': {why}")
            unanswered = error
            continue
        found = {name: candidate for name in PACKAGES if (candidate := apt.candidate(suite, name))}
        if len(found) == len(PACKAGES):
            return Choice(suite, found)
    if unanswered:
        raise unanswered
    raise Refused(
        f"The mirror has no '{KERNEL}' in any of the suites {', '.join(SUITES)}.",
        hint="name another mirror with --mirror URI; Debian offers the package for amd64 only",
    )


def mode_of(version: str) -> Mode:
    """The fastest mode that a kernel of this package version has: SECCOMP mode came with Linux 6.16."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise ToolOutput(f"'{version}' is not a version of {KERNEL}.")
    return Mode.SECCOMP if (int(match[1]), int(match[2])) >= FIRST_WITH_SECCOMP else Mode.PTRACE


def _read_choice(file: Path) -> Choice | None:
    """The choice of an earlier run; None when there is none, or one that this version of gridvisor cannot read."""
    try:
        said = json.loads(file.read_text())
        return Choice(said["suite"], {name: Candidate(**said["packages"][name]) for name in PACKAGES})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _made(kernels: Path, choice: Choice | None) -> KernelPack | None:
    if choice is None or not (kernels / choice.id).is_dir():
        return None
    return KernelPack(choice.id, choice.version, mode_of(choice.version), kernels / choice.id)


def _make(kernels: Path, choice: Choice, apt: Apt, target: Target) -> KernelPack:
    """Make the pack beside its place and move it there whole. The caller holds the lock."""
    for left_by_a_killed_run in kernels.glob(".making-[0-9a-f]*"):
        remove_left(left_by_a_killed_run)
    debs = {name: apt.download(choice.suite, name) for name in PACKAGES}
    work = kernels / f".making-{choice.id}"
    try:
        made = KernelPack(choice.id, choice.version, mode_of(choice.version), work)
        made.runtime.mkdir(parents=True)
        for name in (KERNEL, *LIBRARIES):
            _run(target, "dpkg", "-x", str(debs[name]), str(made.runtime))
        shutil.rmtree(made.runtime / "usr/share")
        for link in ("lib", "lib64"):
            (made.runtime / link).symlink_to(f"usr/{link}")
        make_modules(made.runtime / "usr/lib/uml/modules", made.modules, target)
        shutil.rmtree(made.runtime / "usr/lib/uml/modules")
        make_initramfs(debs["busybox-static"], work / "scratch", made.initramfs, target)
        shutil.rmtree(work / "scratch")
        # Guests share the pack; nobody writes to it any more, and their sandboxes may run as another user.
        _run(target, "chmod", "-R", "a-w,a+rX,u+w", str(work))
        _run(target, "chmod", "a-w", str(made.modules), str(made.initramfs))
        work.rename(kernels / choice.id)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return replace(made, folder=kernels / choice.id)


def _run(target: Target, *argv: str) -> None:
    target.run(Command(argv), timeout_s=_TIMEOUT_S)
