"""The kernel pack boots images of a few megabytes: identity, modules and swap arrive, and a bad root is a crash."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.kernel.pack import KernelPack, Mode
from gridvisor.kernel.parameters import IdentityDevice, boot_parameters
from gridvisor.kernel.uml import uml_pack
from gridvisor.run.local import Local

pytestmark = pytest.mark.uml

TIMEOUT_S = 90

# What the guest does instead of booting services: tells what it found, and powers off.
INIT = """\
#!/bin/sh
export PATH=/bin
echo "guest: arguments=$*"
echo "guest: uptime=$(cut -d ' ' -f 1 /proc/uptime)"
echo "guest: hostname=$(cat /etc/hostname) owner=$(stat -c %u:%g:%a /etc/hostname)"
echo "guest: noted=$(cat /etc/gridvisor/identity)"
echo "guest: modules=$(ls /lib/modules/$(uname -r) | grep -cx modules.dep)"
for module in loop overlay nfsd nfs squashfs 9p bridge nf_tables autofs4 binfmt_misc; do
    modprobe $module && echo "guest: has $module"
done
echo "guest: swaps=$(grep -c /dev/ubd /proc/swaps)"
echo edited >/etc/hostname
sync
poweroff -f
"""


@dataclass(frozen=True, slots=True)
class Boot:
    """What one boot left: the console's text and the exit status of the sandbox."""

    console: str
    status: int

    def told(self, name: str) -> str:
        """What the guest said after 'guest: NAME='."""
        (line,) = (line for line in self.console.splitlines() if line.startswith(f"guest: {name}="))
        return line.partition("=")[2].strip()


@pytest.fixture(scope="module")
def pack() -> KernelPack:
    return uml_pack(Places.of(os.environ, uid=os.getuid()), Bus(), target=Local())


@pytest.fixture(scope="module")
def busybox(pack: KernelPack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static busybox of the pack's own initramfs."""
    folder = tmp_path_factory.mktemp("busybox")
    unpack = ("cpio", "--quiet", "-i", "-d", "--no-absolute-filenames")
    with pack.initramfs.open("rb") as archive:
        subprocess.run(unpack, stdin=archive, cwd=folder, check=True)
    return folder / "bin/busybox"


def make_image(folder: Path, busybox: Path, *, init: str | None = INIT, merged: bool = False) -> Path:
    """An ext4 image with busybox and `init`; with `merged`, /lib is a link to usr/lib, else it does not exist."""
    tree = folder / "tree"
    for name in ("bin", "sbin", "etc", "usr/lib"):
        (tree / name).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    for applet in ("sh", "cat", "cut", "stat", "ls", "grep", "uname", "modprobe", "sync", "poweroff"):
        (tree / "bin" / applet).symlink_to("busybox")
    if merged:
        (tree / "lib").symlink_to("usr/lib")
    if init is not None:
        (tree / "sbin/init").write_text(init)
        (tree / "sbin/init").chmod(0o755)
    image = folder / "root.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image, "16M"], check=True)
    return image


def make_identity(file: Path, hostname: str) -> IdentityDevice:
    """An identity tar that gives `hostname`, on the second device."""
    with tarfile.open(file, "w") as tar:
        member = tarfile.TarInfo("etc/hostname")
        member.size, member.mode, member.uid, member.gid = len(hostname), 0o640, 12, 34
        tar.addfile(member, io.BytesIO(hostname.encode()))
    return IdentityDevice("ubdb", hashlib.sha256(file.read_bytes()).hexdigest())


def boot(pack: KernelPack, folder: Path, devices: dict[str, str], parameters: tuple[str, ...]) -> Boot:
    """Boot the files of `folder` named by `devices` ('ubd0' → 'root.img') and wait for the end."""
    sandbox = (
        *("bwrap", "--ro-bind", str(pack.runtime / "usr"), "/usr"),
        *("--symlink", "usr/lib64", "/lib64", "--symlink", "usr/lib", "/lib"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        *("--ro-bind", str(pack.folder), "/pack", "--bind", str(folder), "/vm"),
        *("--unshare-all", "--die-with-parent", "--new-session"),
    )
    kernel = (
        *("/usr/bin/linux.uml", "mem=96M", "uml_dir=/tmp", "initrd=/pack/initramfs"),
        *("con0=fd:0,fd:1", "con=null", "ssl=null", *(["seccomp=on"] if pack.mode is Mode.SECCOMP else [])),
        *(f"{device}={file}" for device, file in devices.items()),
    )
    # A pipe that stays open: the kernel cannot wait for input on /dev/null.
    keyboard, held = os.pipe()
    try:
        done = subprocess.run(
            [*sandbox, *kernel, *parameters],
            stdin=keyboard,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    finally:
        os.close(keyboard)
        os.close(held)
    return Boot(done.stdout.decode("utf-8", "replace"), done.returncode)


@pytest.mark.parametrize("merged", [False, True])
def test_parts_of_a_machine_arrive(pack: KernelPack, busybox: Path, tmp_path: Path, merged: bool) -> None:
    make_image(tmp_path, busybox, merged=merged)
    identity = make_identity(tmp_path / "identity.tar", "vm1\n")
    for swap in ("swap1.img", "swap2.img"):
        with (tmp_path / swap).open("wb") as file:
            file.truncate(4 << 20)
    devices = {
        "ubd0": "/vm/root.img",
        "ubd1r": "/vm/identity.tar",
        "ubd2r": "/pack/modules.img",
        "ubd3": "/vm/swap1.img",
        "ubd4": "/vm/swap2.img",
    }
    parameters = (*boot_parameters("ubda", identity, modules="ubdc", swaps=("ubdd", "ubde")), "single")

    first = boot(pack, tmp_path, devices, parameters)
    assert first.status == 0, first.console
    assert "gridvisor: identity unpacked" in first.console
    assert first.told("arguments") == "single"
    assert first.told("hostname") == "vm1 owner=12:34:640"
    assert first.told("noted") == identity.sha256
    assert first.told("modules") == "1"
    for module in ("loop", "overlay", "nfsd", "nfs", "squashfs", "9p", "bridge", "nf_tables", "autofs4", "binfmt_misc"):
        assert f"guest: has {module}" in first.console
    assert first.told("swaps") == "2"

    # The guest's own change outlives a boot, as the identity is the same.
    second = boot(pack, tmp_path, devices, parameters)
    assert "gridvisor: identity unpacked" not in second.console
    assert second.told("hostname").startswith("edited")
    assert second.told("swaps") == "2"

    # A new identity is unpacked over it.
    other = make_identity(tmp_path / "identity.tar", "vm2\n")
    third = boot(pack, tmp_path, devices, boot_parameters("ubda", other))
    assert third.told("hostname").startswith("vm2")
    assert third.told("modules") == "0"
    assert third.told("swaps") == "0"


def test_no_root_device_is_a_crash_that_says_so(pack: KernelPack, tmp_path: Path) -> None:
    done = boot(pack, tmp_path, {}, boot_parameters("ubda"))
    assert "gridvisor: there is no root device /dev/ubda" in done.console
    assert done.status != 0


def test_root_that_is_no_filesystem_is_a_crash_that_says_so(pack: KernelPack, tmp_path: Path) -> None:
    (tmp_path / "root.img").write_bytes(bytes(1 << 20))
    done = boot(pack, tmp_path, {"ubd0": "/vm/root.img"}, boot_parameters("ubda"))
    assert "gridvisor: cannot mount the root device /dev/ubda as ext4" in done.console
    assert done.status != 0


def test_image_without_init_is_a_crash_that_says_so(pack: KernelPack, busybox: Path, tmp_path: Path) -> None:
    make_image(tmp_path, busybox, init=None)
    done = boot(pack, tmp_path, {"ubd0": "/vm/root.img"}, boot_parameters("ubda"))
    assert "gridvisor: the image on /dev/ubda has no /sbin/init" in done.console
    assert done.status != 0


def test_truncated_identity_is_not_noted(pack: KernelPack, busybox: Path, tmp_path: Path) -> None:
    make_image(tmp_path, busybox)
    identity = make_identity(tmp_path / "identity.tar", "vm1\n" * 1000)
    whole = (tmp_path / "identity.tar").read_bytes()
    (tmp_path / "identity.tar").write_bytes(whole[:2048])
    devices = {"ubd0": "/vm/root.img", "ubd1r": "/vm/identity.tar"}
    cut = boot(pack, tmp_path, devices, boot_parameters("ubda", identity))
    assert "gridvisor: cannot unpack the identity" in cut.console
    assert cut.status != 0

    (tmp_path / "identity.tar").write_bytes(whole)
    mended = boot(pack, tmp_path, devices, boot_parameters("ubda", identity))
    assert "gridvisor: identity unpacked" in mended.console
    assert mended.status == 0
