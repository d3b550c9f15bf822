"""The kernel pack for Xen: what is taken out of Debian's packages, and in which order drivers are loaded."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gridvisor.core.errors import ToolOutput
from gridvisor.kernel.xen import drivers_of, payload_of

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
