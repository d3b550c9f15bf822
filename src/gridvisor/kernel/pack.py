"""A kernel pack as it lies in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Pack(Protocol):
    """What a kernel pack of any kind has for guests."""

    @property
    def modules(self) -> Path:
        """An ext4 image of what belongs on /lib/modules, to be attached read-only."""


class Kind(StrEnum):
    """Who has compiled the kernel of a pack for Xen: Debian for all machines, or we for paravirtual ones."""

    PACKAGED = "packaged"
    TRIMMED = "trimmed"


class Mode(StrEnum):
    """How a User-Mode Linux kernel catches the system calls of its processes."""

    SECCOMP = "seccomp"
    PTRACE = "ptrace"


@dataclass(frozen=True, slots=True)
class KernelPack:
    """Kernel `version` of a pack in `folder`, which is whole and never changes. Shared by every guest."""

    id: str
    version: str
    mode: Mode
    folder: Path

    @property
    def runtime(self) -> Path:
        """A tree whose `usr/` holds bin/linux.uml and its C library; a sandbox binds it read-only on /usr.

        The sandbox also needs the links /lib → usr/lib and /lib64 → usr/lib64, which the tree has too.
        """
        return self.folder / "runtime"

    @property
    def initramfs(self) -> Path:
        """The file for the kernel's `initrd=`."""
        return self.folder / "initramfs"

    @property
    def modules(self) -> Path:
        """An ext4 image of what belongs on /lib/modules, to be attached read-only."""
        return self.folder / "modules.img"

    @property
    def note(self) -> str:
        """What the user should know about the choice, in one line."""
        if self.mode is Mode.SECCOMP:
            return f"Guests run User-Mode Linux {self.version} in SECCOMP mode."
        return (
            f"Guests run User-Mode Linux {self.version} in ptrace mode, several times slower than SECCOMP mode: "
            "the mirror offers no version from 6.16 on."
        )
