"""What this machine can do for guests, and what is missing, with the command that mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gridvisor.app.capacity import GUEST_OVERHEAD_MIB, HOST_RESERVE_MIB, room
from gridvisor.app.finding import Finding, Verdict
from gridvisor.core.places import Places
from gridvisor.core.units import counted, format_size
from gridvisor.run.command import Command
from gridvisor.run.local import Local, clean_environment

_GUEST_MIB = 96  # the smallest guest that our base image boots in
_IMAGE_BYTES = 2 << 30  # an image, its packages and a kernel pack


@dataclass(frozen=True, slots=True)
class Need:
    """A Debian package that gridvisor calls; `proof` is a command, or a file, that it brings."""

    package: str
    proof: str
    why: str


def needs() -> tuple[Need, ...]:
    """The packages of `needs.txt`, which the setup installs from too."""
    lines = files("gridvisor.app").joinpath("needs.txt").read_text().splitlines()
    return tuple(Need(*line.split(maxsplit=2)) for line in lines if line.strip() and not line.startswith("#"))


def examine(places: Places) -> tuple[Finding, ...]:
    """Everything that guests need of this machine, looked at without changing anything."""
    return tuple(_examine(places))


def _examine(places: Places) -> Iterator[Finding]:
    yield _root()
    path = clean_environment()["PATH"]
    for need in needs():
        there = Path(need.proof).exists() if need.proof.startswith("/") else shutil.which(need.proof, path=path)
        if there:
            yield Finding(need.package, Verdict.GOOD, need.why)
        else:
            yield Finding(need.package, Verdict.MISSING, need.why, f"apt-get install {need.package}")
    yield _tun()
    yield _user_namespaces()
    yield from _room(places)


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", Verdict.GOOD, "guests' network namespaces and taps can be made")
    return Finding("root", Verdict.MISSING, "guests have a network namespace and taps", "sudo gridvisor doctor")


def _tun() -> Finding:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except FileNotFoundError:
        return Finding("/dev/net/tun", Verdict.MISSING, "guests' interfaces are taps", "modprobe tun")
    except OSError as error:
        return Finding("/dev/net/tun", Verdict.MISSING, f"cannot be opened: {error.strerror}", "run as root")
    return Finding("/dev/net/tun", Verdict.GOOD, "guests' interfaces are taps")


def _user_namespaces() -> Finding:
    """Tried, not guessed: distributions forbid them in several ways."""
    what, why = "user namespaces", "each guest's sandbox is one"
    if shutil.which("bwrap") is None:
        return Finding(what, Verdict.NOTE, "cannot be tried without bubblewrap")
    argv = ("bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true")
    if Local().run(Command(argv), timeout_s=10, check=False).status == 0:
        return Finding(what, Verdict.GOOD, why)
    return Finding(what, Verdict.MISSING, why, "sysctl -w user.max_user_namespaces=10000")


def _room(places: Places) -> Iterator[Finding]:
    has = room(places.state)
    fits = max(0, has.memory_mib - HOST_RESERVE_MIB) // (_GUEST_MIB + GUEST_OVERHEAD_MIB)
    says = f"{has.memory_mib} MiB are free: {counted(fits, 'guest')} of {_GUEST_MIB} MiB"
    yield Finding("memory", Verdict.GOOD if fits else Verdict.MISSING, says, None if fits else "end something else")
    enough = has.disk_bytes >= _IMAGE_BYTES
    says = f"{format_size(has.disk_bytes)} are free for images and volumes, in {places.cache} and {places.state}"
    yield Finding("disk", Verdict.GOOD if enough else Verdict.MISSING, says, None if enough else "gridvisor image gc")
    kvm = "not needed: guests are paravirtual, and run without hardware support"
    yield Finding("virtualization", Verdict.NOTE, kvm)
