"""Whether KVM truly works here: tried, not guessed. In virtual machines, a /dev/kvm often cannot run anything."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gridvisor.core.errors import TimedOut
from gridvisor.run.command import Command
from gridvisor.run.target import Target

KVM, TCG = "kvm", "tcg"
_TRY_S = 10
# The end of a BIOS: at the reset vector (16 bytes below 4 GiB), `mov al, 1; out 0xf4, al; hlt`.
_BIOS = bytes(0x10000 - 16) + bytes.fromhex("b001e6f4f4") + bytes(11)
_ITS_STATUS = 3  # isa-debug-exit gives (value << 1) | 1


def accelerator(target: Target) -> str:
    """'kvm' if a processor of it runs three instructions, else 'tcg', which is QEMU's own emulation."""
    if not Path("/dev/kvm").exists():
        return TCG
    with tempfile.NamedTemporaryFile(suffix=".bin") as bios:
        bios.write(_BIOS)
        bios.flush()
        words = ("-accel", KVM, "-cpu", "host", "-M", "pc", "-m", "1", "-nodefaults", "-display", "none")
        tried = Command(
            ("qemu-system-x86_64", *words, "-bios", bios.name, "-device", "isa-debug-exit,iobase=0xf4,iosize=1")
        )
        try:
            return KVM if target.run(tried, timeout_s=_TRY_S, check=False).status == _ITS_STATUS else TCG
        except TimedOut:
            return TCG
