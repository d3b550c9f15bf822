"""How the bytes of an image get from this machine to a device of the machine that runs guests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gridvisor.run.command import Command, script
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

_FILL_S = 3600.0
# Zeros are left out where the device has nothing but zeros anyway, as most of an image. It goes past the page cache:
# a small dom0 has no room for it, 12 s instead of 34 for 386 MiB under emulation. `from` may say the same of reading.
WRITE = 'dd of="$1" bs=1M iflag=fullblock${from:+,$from} oflag=direct status=none conv="${2:+sparse,}fsync"'


class Fill(Protocol):
    """Writes an image to a device."""

    def __call__(self, image: Path, device: str, *, is_empty: bool) -> None:
        """Write the `image` of this machine to the `device` over there; `is_empty` when that reads as zeros."""


def filling(target: Target) -> Fill:
    """The way that always goes: through the connection to `target`, packed while it is not this machine itself."""

    def fill(image: Path, device: str, *, is_empty: bool) -> None:
        words = (device, "yes" if is_empty else "")
        if isinstance(target, Ssh):
            there = target.local(script(f"zstd -q -d -c | {WRITE}", *words))
            pipe = 'image=$1; shift; zstd -q -1 -T0 -c "$image" | "$@"'
            bash = ("/bin/bash", "-o", "pipefail", "-euc", pipe, "bash", str(image), *there.argv)
            Local().run(Command(bash), timeout_s=_FILL_S)
        else:
            target.run(script(f'exec <"$3"; {WRITE}', *words, str(image)), timeout_s=_FILL_S)

    return fill
