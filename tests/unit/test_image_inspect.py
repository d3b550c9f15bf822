"""A look inside disk files that mke2fs made just now: no root, no mount."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.image.inspect import has_init, is_ext4, network_style, require_ext4

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
pytestmark = pytest.mark.skipif(shutil.which("mke2fs", path=SBIN) is None, reason="e2fsprogs is not installed")

WANTS = "etc/systemd/system/multi-user.target.wants"
UNITS = "usr/lib/systemd/system"


def ext4(folder: Path, *names: str, links: dict[str, str] | None = None) -> Path:
    tree, disk = folder / "tree", folder / "root.img"
    tree.mkdir()
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    for name, goal in (links or {}).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(goal)
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(disk), "4M"]
    subprocess.run(command, env={"PATH": SBIN}, check=True)
    return disk


@pytest.mark.parametrize(
    ("names", "style"),
    [
        ((f"{UNITS}/systemd-networkd.service", f"{WANTS}/systemd-networkd.service"), NetworkStyle.NETWORKD),
        ((f"{UNITS}/systemd-networkd.service",), NetworkStyle.NETWORKD),
        # Debian with ifupdown has networkd's unit too, as it is part of systemd.
        ((f"{UNITS}/systemd-networkd.service", "etc/network/interfaces", "usr/sbin/ifup"), NetworkStyle.IFUPDOWN),
        ((f"{UNITS}/NetworkManager.service", f"{WANTS}/NetworkManager.service"), NetworkStyle.NETWORKMANAGER),
        (("etc/sysconfig/network-scripts/ifup-eth", "sbin/ifup"), NetworkStyle.IFCFG),
        (
            ("etc/sysconfig/network-scripts/ifup", f"{WANTS}/NetworkManager.service"),
            NetworkStyle.NETWORKMANAGER,
        ),
        (("etc/network/interfaces", "sbin/ifup", f"{WANTS}/systemd-networkd.service"), NetworkStyle.NETWORKD),
    ],
)
def test_the_style_is_that_of_what_is_enabled(tmp_path: Path, names: tuple[str, ...], style: NetworkStyle) -> None:
    assert network_style(ext4(tmp_path, *names)) is style


def test_a_system_without_any_network_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="sets up a network"):
        network_style(ext4(tmp_path, "etc/hosts"))


def test_init_is_found_behind_the_links_of_a_merged_usr(tmp_path: Path) -> None:
    disk = ext4(
        tmp_path, "usr/lib/systemd/systemd", links={"sbin": "usr/sbin", "usr/sbin/init": "../lib/systemd/systemd"}
    )
    assert has_init(disk)


def test_no_init(tmp_path: Path) -> None:
    assert not has_init(ext4(tmp_path, "sbin/initialise"))


def test_looking_changes_nothing(tmp_path: Path) -> None:
    disk = ext4(tmp_path, "sbin/init")
    before = disk.read_bytes()
    disk.chmod(0o444)
    has_init(disk)
    assert disk.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (bytes(4096), "a blank disk"),
        (b"kernel = 'vmlinuz'\n", "a text file"),
        (gzip.compress(b"x"), "gzip"),
        (b"QFI\xfb" + bytes(600), "qcow2"),
        (bytes(510) + b"\x55\xaa", "partition table"),
        (bytes(510) + b"\x55\xaaEFI PART", "GPT"),
        (bytes(4086) + b"SWAPSPACE2", "a swap area"),
        (b"\x01\x02\x03", "nothing that is known"),
    ],
)
def test_what_is_not_ext4_is_refused_by_what_it_looks_like(tmp_path: Path, content: bytes, words: str) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(content)
    assert not is_ext4(disk)
    with pytest.raises(Refused, match=words):
        require_ext4(disk)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a folder"):
        require_ext4(tmp_path)
    with pytest.raises(Refused, match="There is no file"):
        require_ext4(tmp_path / "absent")


def test_a_superblock_without_its_filesystem_is_a_clear_error(tmp_path: Path) -> None:
    disk = ext4(tmp_path, "sbin/init")
    disk.write_bytes(disk.read_bytes()[:2048])
    with pytest.raises(ToolOutput, match="debugfs cannot open"):
        has_init(disk)
