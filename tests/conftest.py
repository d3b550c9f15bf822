"""Fixtures that boot real guests: a kernel pack from the mirror, and a guest small enough to boot in a blink."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gridvisor.app.box import box_of
from gridvisor.app.host import Host
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.domain.model import Domain
from gridvisor.kernel.pack import KernelPack
from gridvisor.kernel.uml import uml_pack
from gridvisor.kernel.xen import xen_pack
from gridvisor.monitor.protocol import Attachment, Guest, VolumeUse
from gridvisor.monitor.uml.monitor import UmlMonitor, connect
from gridvisor.monitor.xen.monitor import XenMonitor
from gridvisor.run.command import Command, script
from gridvisor.run.local import Local
from gridvisor.run.target import Target
from home import Home

TINY_MIB = 64
BOX_S = 400.0

# By this one is told how to write the network's configuration; nothing in the tiny image reads it.
_NETWORK_FOLDERS = ("etc/sysconfig/network-scripts",)

_INITTAB = """\
::sysinit:/bin/mount -t proc proc /proc
::sysinit:/bin/mount -t sysfs sys /sys
::sysinit:/bin/echo tiny guest is up
::respawn:-/bin/sh
::ctrlaltdel:/sbin/reboot
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a box come last: it runs until the end, and takes its part of the processors."""
    items.sort(key=lambda item: item.get_closest_marker("box") is not None)


@pytest.fixture(scope="session")
def cache() -> Path:
    """The cache of this user: what was downloaded and built once serves every run of the tests."""
    return Places.of(os.environ, uid=os.geteuid()).cache


@pytest.fixture(scope="session")
def pack(cache: Path) -> KernelPack:
    """The kernel pack that guests boot with."""
    return uml_pack(Places(cache, cache / "unused"), Bus(), target=Local())


@pytest.fixture(scope="session")
def tiny_image(pack: KernelPack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 image with busybox as its init and a shell on its console: up in a tenth of a second."""
    work = tmp_path_factory.mktemp("tiny")
    tree = work / "tree"
    for folder in ("bin", "sbin", "etc", "dev", "proc", "sys", "lib/modules", "tmp", "root", *_NETWORK_FOLDERS):
        (tree / folder).mkdir(parents=True)
    with pack.initramfs.open("rb") as archive:
        subprocess.run(
            ["cpio", "--quiet", "-id", "*bin/busybox"], stdin=archive, cwd=work, check=True, capture_output=True
        )
    shutil.copy(work / "bin/busybox", tree / "bin/busybox")
    for applet in (
        "bin/sh",
        "bin/mount",
        "bin/echo",
        "bin/cat",
        "bin/sleep",
        "sbin/init",
        "sbin/reboot",
        "sbin/poweroff",
    ):
        (tree / applet).symlink_to("/bin/busybox")
    (tree / "etc/inittab").write_text(_INITTAB)
    image = work / "tiny.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), "16M"], check=True, capture_output=True)
    return image


@dataclass
class UmlBench:
    """A UML monitor with a state folder of its own, and tiny guests for it."""

    monitor: UmlMonitor
    places: Places
    image: Path
    guest_mib: int = TINY_MIB

    def guest(self, name: str, **wishes: object) -> Guest:
        """A guest with a root volume of its own over the tiny image."""
        data = self.places.state / "volumes" / "test" / name / "data"
        data.mkdir(parents=True, exist_ok=True)
        root = Attachment(VolumeUse.ROOT, data / "disk", True, self.image)
        return Guest(Domain(name, memory_mib=TINY_MIB, **wishes), (root,))  # type: ignore[arg-type]

    def type_in(self, name: str, text: str) -> None:
        """Type at the console of a guest."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            connect(console, self.monitor.console(name).socket)
            console.sendall(text.encode())
            time.sleep(0.1)

    def said(self, name: str) -> str:
        """All that the console of a guest has said."""
        return self.monitor.console(name).log.read_text(errors="replace")

    def wait_for(self, name: str, text: str) -> None:
        """Return when the guest has said `text`."""
        eventually(lambda: text in self.said(name))

    def crash(self, name: str) -> None:
        """Have the guest's kernel panic."""
        self.wait_for(name, "tiny guest is up")
        self.type_in(name, "echo c > /proc/sysrq-trigger\n")


def eventually(check: Callable[[], bool | str], *, seconds: float = 30) -> None:
    """Return when `check` holds; fail the test when it does not come about. What is amiss may be told by a text."""
    end = time.monotonic() + seconds
    while (seen := check()) is not True:
        assert time.monotonic() < end, seen or "it did not come about"
        time.sleep(0.02)


@pytest.fixture
def uml_bench(pack: KernelPack, tiny_image: Path, cache: Path, tmp_path: Path) -> UmlBench:
    """See UmlBench."""
    places = Places(cache, tmp_path / "state")
    return UmlBench(UmlMonitor(places, lambda: pack), places, tiny_image)


@pytest.fixture
def home(pack: KernelPack, cache: Path, tmp_path: Path) -> Iterator[Home]:
    """A home for the command line, with nothing in it."""
    home = Home.make(tmp_path / "home", cache)
    yield home
    home.clean()


@pytest.fixture(scope="module")
def shared_home(pack: KernelPack, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home that the tests of one file share, since a Debian guest takes seconds to boot."""
    home = Home.make(tmp_path_factory.mktemp("shared") / "home", cache)
    yield home
    home.clean()


@pytest.fixture(scope="session")
def box(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with a Xen host in a box that runs; it serves all tests that need one."""
    home = Home.make(tmp_path_factory.mktemp("xen") / "home", cache)
    home.ok("host", "box", "up", "--memory", "2GiB", "--group", "4GiB", timeout_s=BOX_S)
    yield home
    home.ok("host", "box", "rm", "--yes")


@dataclass
class XenBench:
    """A Xen monitor, and tiny guests for it; `target` is its dom0."""

    monitor: XenMonitor
    target: Target
    guest_mib: int = 128  # Debian's kernel alone is 58 MiB

    def guest(self, name: str, **wishes: object) -> Guest:
        """A guest with a root of its own, which is a file in dom0."""
        root = f"/root/{name}.img"
        self.target.run(Command(("cp", "--sparse=always", _TINY_IN_DOM0, root)), timeout_s=60)
        domain = Domain(name, memory_mib=self.guest_mib, **wishes)  # type: ignore[arg-type]
        return Guest(domain, (Attachment(VolumeUse.ROOT, Path(root), True),))

    def crash(self, name: str) -> None:
        """Have the guest's kernel panic."""
        eventually(lambda: b"tiny guest is up" in self.monitor.console_log(name), seconds=60)
        source = 'echo "echo c > /proc/sysrq-trigger" >"$(xenstore-read "/local/domain/$(xl domid "$1")/console/tty")"'
        self.target.run(script(source, name), timeout_s=60)


_TINY_IN_DOM0 = "/root/tiny.img"


@pytest.fixture
def xen_bench(box: Home, tiny_image: Path) -> XenBench:
    """See XenBench."""
    host = Host(box.places, Bus())
    dom0 = box_of(host).dom0
    if dom0.run(Command(("test", "-e", _TINY_IN_DOM0)), timeout_s=60, check=False).status:
        dom0.put(tiny_image, _TINY_IN_DOM0, timeout_s=60)
    return XenBench(XenMonitor(dom0, lambda: xen_pack(host.places, host.bus, target=host.target)), dom0)
