"""Bad days of a real Xen host: each is told clearly, and after a second try nothing is left half made."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import XenBench, eventually
from gridvisor.app.box import box_of
from gridvisor.app.host import Host
from gridvisor.core.errors import Refused, TimedOut
from gridvisor.core.events import Bus
from gridvisor.domain.model import Vif
from gridvisor.monitor.protocol import Attachment, Guest, Nic, State, VolumeUse
from gridvisor.monitor.xen.monitor import CONFIGS, KERNELS, MADE, NOTES, XenMonitor
from gridvisor.run.command import Command, Unreachable, script
from gridvisor.run.ssh import Ssh
from gridvisor.storage.filling import filling
from gridvisor.storage.lvm import LvmPool
from home import Home

pytestmark = [pytest.mark.box, pytest.mark.slow]

MIB = 1 << 20


@pytest.fixture
def bench(xen_bench: XenBench) -> Iterator[XenBench]:
    """Tiny guests; in the end, nothing may be left of any of them."""
    yield xen_bench
    for row in xen_bench.monitor.list():
        if row.ours:
            xen_bench.monitor.destroy(row.name)
    assert left(xen_bench) == []


LEFT = """\
xl list | sed '1,2d'
ls /etc/xen/*.cfg /var/lib/gridvisor/domains/* 2>/dev/null || :
losetup --noheadings --output BACK-FILE | grep -v '^/root/vg' || :
"""


def left(bench: XenBench) -> list[str]:
    """Domains, files and loop devices that are in dom0."""
    return bench.target.run(script(LEFT), timeout_s=60).stdout.splitlines()


def told(bench: XenBench, body: str, *words: str) -> str:
    """What a shell script prints in dom0."""
    return bench.target.run(script(body, *words), timeout_s=120).stdout


def with_identity(guest: Guest, folder: Path) -> Guest:
    """The guest with an identity, which is a file that goes to dom0 with it."""
    tar = folder / "identity.tar"
    tar.write_bytes(bytes(10240))
    return replace(guest, volumes=(*guest.volumes, Attachment(VolumeUse.IDENTITY, tar, writable=False)))


# -- requests that cannot be ---------------------------------------------------------------------------------------


def test_without_enough_memory_nothing_is_made(bench: XenBench, tmp_path: Path) -> None:
    guest = with_identity(bench.guest("a"), tmp_path)
    big = replace(guest, domain=replace(guest.domain, memory_mib=3000))
    for _ in range(2):
        with pytest.raises(Refused, match="not enough free memory"):
            bench.monitor.create(big)
        assert left(bench) == []
    small = replace(guest, domain=replace(guest.domain, memory_mib=16))
    with pytest.raises(Refused, match="less than its kernel takes"):
        bench.monitor.create(small)


def test_without_its_bridge_nothing_is_made(bench: XenBench, tmp_path: Path) -> None:
    guest = with_identity(bench.guest("a"), tmp_path)
    joined = replace(
        guest,
        domain=replace(guest.domain, vifs=(Vif(bridge="nobr0"),)),
        nics=(Nic("00:16:3e:00:00:01", "gv-bad"),),
    )
    with pytest.raises(Refused, match=r"bridge does not exist.*nobr0"):
        bench.monitor.create(joined)
    assert left(bench) == []
    assert bench.monitor.create(guest, paused=True).state is State.PAUSED


def test_without_a_disk_nothing_is_made(bench: XenBench, tmp_path: Path) -> None:
    guest = with_identity(bench.guest("a"), tmp_path)
    none = Attachment(VolumeUse.DATA, Path("/dev/vg0/none"), writable=True)
    with pytest.raises(Refused, match=r"disk is not there.*/dev/vg0/none"):
        bench.monitor.create(replace(guest, volumes=(*guest.volumes, none)))
    assert left(bench) == []


# -- what is somebody else's ----------------------------------------------------------------------------------------

THEIRS = """\
cat >/root/theirs.cfg <<END
name = "theirs"
type = "pv"
memory = 96
kernel = "$(echo "$1"/*/vmlinux)"
END
xl create -q -p /root/theirs.cfg
"""


def test_a_domain_of_plain_xl_is_shown_and_left_alone(bench: XenBench) -> None:
    told(bench, THEIRS, KERNELS)
    try:
        [row] = [row for row in bench.monitor.list() if row.name == "theirs"]
        assert (row.ours, row.state) == (False, State.PAUSED)
        with pytest.raises(Refused, match="'theirs' exists already, and gridvisor did not make it"):
            bench.monitor.create(bench.guest("theirs"))
        with pytest.raises(Refused, match="not touched"):
            bench.monitor.destroy("theirs")
        assert "theirs" in told(bench, "xl list")
    finally:
        told(bench, "xl destroy theirs; rm /root/theirs.cfg")


def test_a_configuration_of_somebody_else_is_left_alone(bench: XenBench) -> None:
    file = f"{CONFIGS}/a.cfg"
    told(bench, 'echo "# mine" >"$1"', file)
    try:
        with pytest.raises(Refused, match=r"a configuration file is in its way.*/etc/xen/a.cfg"):
            bench.monitor.create(bench.guest("a"))
        bench.monitor.create(bench.guest("b"), paused=True)
        with pytest.raises(Refused, match="cannot be renamed: a configuration file is in its way"):
            bench.monitor.rename("b", "a")
        assert [row.name for row in bench.monitor.list() if row.ours] == ["b"]
        assert told(bench, 'cat "$1"', file) == "# mine\n"
    finally:
        told(bench, 'rm "$1"', file)


# -- what hangs, and what is cut off --------------------------------------------------------------------------------


HANGING_XL = """\
mkdir -p /root/bin
cat >/root/bin/xl <<END
#!/bin/sh
[ "\\$1" != $1 ] || exec sleep 600
exec /usr/sbin/xl "\\$@"
END
chmod 755 /root/bin/xl
"""


class HangingXl:
    """A target where `xl VERB` hangs, by a script of that name that comes first in PATH."""

    def __init__(self, target: Ssh, verb: str, *, patience_s: int) -> None:
        self.name = target.name
        self._target = target
        self._patience_s = patience_s
        target.run(script(HANGING_XL, verb), timeout_s=60)

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> object:
        shell, option, body, *words = command.argv
        body = f"PATH=/root/bin:$PATH\n{body}".replace('timeout -k 5 "$seconds"', f"timeout -k 5 {self._patience_s}")
        hanging = replace(command, argv=(shell, option, body, *words))
        return self._target.run(hanging, timeout_s=timeout_s, check=check)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        self._target.put(source, destination, timeout_s=timeout_s)


OURS = f"{CONFIGS}/a.cfg"


@pytest.mark.parametrize(
    ("verb", "shown", "stays"), [("domid", "xl domid a", [OURS]), ("create", f"xl create -q {OURS}", [])]
)
def test_an_xl_that_hangs_is_ended_and_named(
    bench: XenBench, tmp_path: Path, verb: str, shown: str, stays: list[str]
) -> None:
    assert isinstance(bench.target, Ssh)
    guest = with_identity(bench.guest("a"), tmp_path)
    # As a domain that powered off left it, so that its name is asked for.
    told(bench, 'echo "# Made by gridvisor" >"$1"', OURS)
    hanging = XenMonitor(HangingXl(bench.target, verb, patience_s=15), bench.monitor._pack)  # type: ignore[arg-type]
    with pytest.raises(TimedOut) as slow:
        hanging.create(guest)
    assert bench.target.name in slow.value.message
    assert slow.value.message.splitlines()[1].strip() == shown
    assert left(bench) == stays
    assert "sleep 600" not in told(bench, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert bench.monitor.create(bench.guest("a"), paused=True).name == "a"


def test_a_create_whose_connection_is_lost_is_finished(bench: XenBench, tmp_path: Path, box: Home) -> None:
    """The second try finds the domain whole, and says so."""
    guest = with_identity(bench.guest("a"), tmp_path)
    assert isinstance(bench.target, Ssh)
    lost = Slow(bench.target)
    with pytest.raises(Unreachable):
        XenMonitor(lost, bench.monitor._pack).create(guest, paused=True)  # type: ignore[arg-type]
    eventually(lambda: told(bench, f"cat {NOTES}/a.json 2>/dev/null || :").endswith(f"\n{MADE}\n"), seconds=90)
    with pytest.raises(Refused, match="'a' exists already"):
        bench.monitor.create(guest)
    assert [(row.name, row.state) for row in bench.monitor.list() if row.ours] == [("a", State.PAUSED)]


class Slow:
    """A target whose connection is cut off while it creates."""

    def __init__(self, target: Ssh) -> None:
        self.name = target.name
        self._target = target

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> object:
        if "xl create" not in command.argv[2]:
            return self._target.run(command, timeout_s=timeout_s, check=check)
        argv = self._target.local(command).argv
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert child.stdin is not None
        child.stdin.write(command.stdin or b"")
        child.stdin.close()
        begun = script(f"for _ in $(seq 100); do [ ! -s {CONFIGS}/a.cfg ] || exit 0; sleep 0.1; done; exit 1")
        self._target.run(begun, timeout_s=60)
        child.send_signal(signal.SIGKILL)
        child.wait()
        raise Unreachable("cut off")


def test_half_a_domain_makes_way(bench: XenBench, tmp_path: Path) -> None:
    """As it is when whoever made it was killed in dom0 itself, or dom0's memory ran out."""
    guest = with_identity(bench.guest("a"), tmp_path)
    bench.monitor.create(guest, paused=True)
    told(bench, f"sed -i 2d {NOTES}/a.json")
    [row] = [row for row in bench.monitor.list() if row.ours]
    assert (row.name, row.state) == ("a", State.CRASHED)
    with pytest.raises(Refused, match="has ended"):
        bench.monitor.unpause("a")
    assert bench.monitor.create(guest, paused=True).id > row.id
    assert [row.state for row in bench.monitor.list() if row.ours] == [State.PAUSED]
    assert len(told(bench, f"ls {NOTES}").split()) == 2, "a note and an identity"


def test_a_note_that_a_power_cut_emptied_harms_nobody(bench: XenBench) -> None:
    bench.monitor.create(bench.guest("a"), paused=True)
    told(bench, f"cp {NOTES}/a.json /root/a.json; : >{NOTES}/a.json")
    try:
        assert [row.ours for row in bench.monitor.list() if row.name == "a"] == [False]
        with pytest.raises(Refused, match="not touched"):
            bench.monitor.destroy("a")
    finally:
        told(bench, f"mv /root/a.json {NOTES}/a.json")


# -- volumes ---------------------------------------------------------------------------------------------------------

SMALL_GROUP = """\
truncate -s 64M /root/vg3.img
vgcreate -q vg3 "$(losetup --find --show /root/vg3.img)" >&2
[ -z "$1" ] || lvcreate -q --type thin-pool --size 16M --chunksize 64k --name thin vg3 >&2
[ -z "$1" ] || lvchange -q --errorwhenfull y vg3/thin >&2
"""
NO_GROUP = """\
vgremove -q --yes --force vg3 >&2 || :
losetup --associated /root/vg3.img --noheadings --output NAME | xargs -r losetup --detach
rm -f /root/vg3.img
"""


THEIR_VOLUME = """\
lvcreate -q --yes --name site.bad.a-data --size 4M vg3 >&2
"""


@pytest.fixture(params=["", "yes"], ids=["plain", "thin"])
def small_pool(request: pytest.FixtureRequest, box: Home, tmp_path: Path) -> Iterator[LvmPool]:
    """A volume group of 60 MiB, with a thin pool of 16 MiB or with none."""
    dom0 = box_of(Host(box.places, Bus())).dom0
    dom0.run(script(NO_GROUP), timeout_s=60)
    dom0.run(script(SMALL_GROUP, request.param), timeout_s=60)
    yield LvmPool(dom0, "vg3", "site.bad", fill=filling(dom0), locks=tmp_path / "locks")
    dom0.run(script(NO_GROUP), timeout_s=120)


def test_an_image_that_does_not_fit_leaves_nothing(small_pool: LvmPool, tmp_path: Path) -> None:
    image = tmp_path / "aa11" / "root.img"
    image.parent.mkdir()
    image.write_bytes(os.urandom(80 * MIB))
    before = small_pool.free_bytes()
    for _ in range(2):
        with pytest.raises(Refused, match=r"The volume group 'vg3' of '\S+' is full") as full:
            small_pool.bring(image)
        assert "vgextend vg3" in (full.value.hint or "")
        assert small_pool.free_bytes() == before
    image.write_bytes(b"x" * 4 * MIB)
    assert small_pool.clone("a-disk", image).size_bytes == 4 * MIB


@pytest.mark.parametrize("small_pool", [""], ids=["plain"], indirect=True)
def test_a_volume_without_our_tag_is_named_and_left_alone(small_pool: LvmPool, box: Home) -> None:
    dom0 = box_of(Host(box.places, Bus())).dom0
    dom0.run(script(THEIR_VOLUME), timeout_s=60)
    with pytest.raises(Refused, match="exists already, and gridvisor did not make it") as refused:
        small_pool.create("a-data", 4 * MIB)
    assert "lvrename vg3 site.bad.a-data" in (refused.value.hint or "")


# -- as a user has it -------------------------------------------------------------------------------------------------


def test_a_dom0_that_gives_its_memory_away_is_told(box: Home, bench: XenBench) -> None:
    warning = "gridvisor host check box tells what mends it"
    info = ("domain", "--monitor", "box", "info")
    assert warning not in box.run(*info).stderr
    told(bench, """sed -i 's/^autoballoon="off"/autoballoon="on"/' /etc/xen/xl.conf""")
    try:
        assert box.run(*info).stderr.count(warning) == 1
    finally:
        told(bench, """sed -i 's/^autoballoon="on"/autoballoon="off"/' /etc/xen/xl.conf""")


def test_a_dom0_that_falls_silent_is_told_and_may_come_back(box: Home, bench: XenBench) -> None:
    bench.monitor.create(bench.guest("a"), paused=True)
    qemu = int((box.places.state / "box/qemu.pid").read_text().split()[0])
    os.kill(qemu, signal.SIGSTOP)
    try:
        said = box.refused("domain", "--monitor", "box", "destroy", "a", status=3)
    finally:
        os.kill(qemu, signal.SIGCONT)
    assert "cannot be reached" in said
    eventually(lambda: box.run("domain", "--monitor", "box", "list").returncode == 0, seconds=60)
    box.ok("domain", "--monitor", "box", "destroy", "a")
