"""The kernel pack for Xen: what is taken out of Debian's packages, and in which order drivers are loaded."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from gridvisor.core.errors import ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.kernel.packaged import payload_of
from gridvisor.kernel.trimmed import CONFIG, compiled
from gridvisor.kernel.xen import drivers_of
from gridvisor.package.apt import Candidate
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.run.target import checked

DEP = """\
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko
kernel/lib/crc16.ko:
kernel/fs/mbcache.ko:
kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko
kernel/drivers/block/xen-blkfront.ko:
"""


def test_a_kernels_payload_is_found_by_its_header() -> None:
    payload = b"packed" + struct.pack("<I", 999)
    image = bytearray(512 * 4 + 7 + len(payload))
    image[0x1F1] = 3
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 7, len(payload))
    image[512 * 4 + 7 :] = payload
    assert payload_of(bytes(image)) == b"packed"


def test_what_is_no_kernel_is_told() -> None:
    with pytest.raises(ToolOutput, match="no bzImage"):
        payload_of(bytes(4096))


def test_drivers_come_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(DEP)
    for line in DEP.splitlines():
        path = tmp_path / line.partition(":")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    found = drivers_of(tmp_path, ("xen_blkfront", "built-in", "ext4"))
    assert list(found) == ["xen-blkfront.ko", "crc16.ko", "mbcache.ko", "jbd2.ko", "ext4.ko"]
    assert found["ext4.ko"] == b"ext4.ko"


class Compiler:
    """A machine where mmdebstrap leaves a kernel, or fails as `status` says."""

    name = "local"

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.ran: list[tuple[str, ...]] = []

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        self.ran.append(command.argv)
        out = Path(command.env["TMPDIR"]) / "out"
        (out / "lib/modules/6.12.1-gridvisor").mkdir(parents=True)
        (out / "vmlinux").write_bytes(b"\x7fELF")
        return checked(Result(command, self.status, "", "internal compiler error", 0.0, self.name), check=check)


SOURCE = Candidate("6.12.1-1", "trixie", "", "0" * 64)


def test_a_kernel_is_compiled_once(tmp_path: Path) -> None:
    places, machine = Places(tmp_path / "cache", tmp_path / "state"), Compiler()
    left_by_a_killed_run = tmp_path / "cache/kernels/.compiled-x"
    left_by_a_killed_run.mkdir(parents=True)
    for _ in range(2):
        kernel = compiled(
            places, Bus(), package="linux-source-6.12", source=SOURCE, mirror=Mirror("http://m"), target=machine
        )  # type: ignore[arg-type]
        assert kernel.vmlinux.read_bytes() == b"\x7fELF"
        assert kernel.modules.name == "6.12.1-gridvisor"
    assert not left_by_a_killed_run.exists()
    [argv] = machine.ran
    assert any("linux-source-6.12" in word for word in argv)


def test_a_kernel_that_cannot_be_compiled_leaves_nothing(tmp_path: Path) -> None:
    places, machine = Places(tmp_path / "cache", tmp_path / "state"), Compiler(status=25)
    with pytest.raises(CommandFailed, match="internal compiler error"):
        compiled(places, Bus(), package="linux-source-6.12", source=SOURCE, mirror=Mirror("http://m"), target=machine)  # type: ignore[arg-type]
    assert list((tmp_path / "cache/kernels").iterdir()) == []


def test_what_the_trimmed_kernel_has_is_said_in_words_that_make_knows() -> None:
    lines = [line for line in CONFIG.read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r'CONFIG_[A-Z0-9_]+=(y|m|n|\d+|"-gridvisor")', line) for line in lines)
    names = [line.partition("=")[0] for line in lines]
    assert sorted(names) == sorted(set(names))
