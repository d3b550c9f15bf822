"""How the bytes of an image get from this machine to a device of the machine that runs guests."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gridvisor.run.command import Command, script
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

_FILL_S = 3600.0
# Zeros are left out where the device has nothing but zeros anyway, as most of an image. It goes past the page cache:
# a small dom0 has no room for it, 12 s instead of 34 for 386 MiB under emulation.
_WRITE = 'dd of="$1" bs=1M iflag=fullblock oflag=direct status=none conv="${2:+sparse,}fsync"'


def data_runs(file: Path, block_bytes: int) -> Sequence[tuple[int, int]]:
    """Where a sparse file has data: runs of whole blocks, each as its first and how many (SEEK_DATA of lseek(2)).

    All of it where the file system does not tell.
    """
    runs: list[tuple[int, int]] = []
    with file.open("rb") as opened:
        end = 0
        while True:
            try:
                data = os.lseek(opened.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # there is no more
                    raise
                return runs
            end = os.lseek(opened.fileno(), data, os.SEEK_HOLE)
            first, after = data // block_bytes, -(-end // block_bytes)
            if runs and first <= sum(runs[-1]):
                first = runs.pop()[0]
            runs.append((first, after - first))


class Fill(Protocol):
    """Writes an image to a device."""

    def __call__(self, image: Path, device: str, *, is_empty: bool) -> None:
        """Write the `image` of this machine to the `device` over there; `is_empty` when that reads as zeros."""


def filling(target: Target) -> Fill:
    """The way that always goes: through the connection to `target`, packed while it is not this machine itself."""

    def fill(image: Path, device: str, *, is_empty: bool) -> None:
        words = (device, "yes" if is_empty else "")
        if isinstance(target, Ssh):
            there = target.local(script(f"zstd -q -d -c | {_WRITE}", *words))
            pipe = 'image=$1; shift; zstd -q -1 -T0 -c "$image" | "$@"'
            bash = ("/bin/bash", "-o", "pipefail", "-euc", pipe, "bash", str(image), *there.argv)
            Local().run(Command(bash), timeout_s=_FILL_S)
        else:
            target.run(script(f'exec <"$3"; {_WRITE}', *words, str(image)), timeout_s=_FILL_S)

    return fill
