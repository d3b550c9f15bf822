"""A site on real Xen: the commands of any site, with its machine a domain of the box."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from conftest import BOX_S, eventually
from gridvisor.app.box import box_of
from gridvisor.app.host import Host
from gridvisor.core.events import Bus
from gridvisor.monitor.xen.monitor import NOTES
from gridvisor.run.command import Command
from gridvisor.run.local import Local
from home import Home

pytestmark = [pytest.mark.box, pytest.mark.slow]

UP_S = 900.0
LEFT = "lvs --noheadings -o lv_name vg0; ls -R /var/lib/gridvisor/snapshots 2>/dev/null || :"
SITE = """\
site: one
monitor: box
machines:
  se: {role: se, volumes: {data: 64MiB}}
publish: {se: [18094:1094]}
"""


@pytest.fixture(scope="module")
def site(box: Home) -> Iterator[Home]:
    """The box with the site up in it."""
    file = box.folder / "one.yaml"
    file.write_text(SITE)
    box.ok("up", file, timeout_s=UP_S)
    yield box
    box.ok("destroy", "--yes", "one", timeout_s=UP_S)
    left = box.ok("host", "box", "ssh", "--", f"{LEFT}; xl list; ls /etc/xen /var/lib/gridvisor/domains; ip netns")
    assert "one" not in left
    assert "gridvisor.snapshot." not in left


def test_domain_list_is_what_xl_says(site: Home) -> None:
    ours = [line.split()[:4] for line in site.ok("domain", "--monitor", "box", "list").splitlines()]
    theirs = [line.split()[:4] for line in site.ok("host", "box", "ssh", "--", "xl", "list").splitlines()]
    assert ours == theirs
    assert "one.se" in [row[0] for row in ours]


def test_its_services_run_under_a_kernel_of_xen(site: Home) -> None:
    assert site.ok("ssh", "-s", "one", "se", "--", "systemctl", "is-active", "xrootd@se").strip() == "active"
    assert site.ok("ssh", "-s", "one", "se", "--", "cat", "/sys/hypervisor/type").strip() == "xen"


def test_a_published_port_answers_here(site: Home) -> None:
    """The handshake of the XRootD protocol, to which a server says its own version."""
    with socket.create_connection(("127.0.0.1", 18094), timeout=60) as server:
        server.sendall(struct.pack(">5i", 0, 0, 0, 4, 2012))
        head = server.recv(8, socket.MSG_WAITALL)
    assert struct.unpack(">2sHi", head) == (bytes(2), 0, 8)


def test_a_second_up_finds_nothing_to_do(site: Home) -> None:
    assert "boot" not in site.run("up", "one", timeout_s=UP_S).stderr
    assert "ready" in site.ok("status", "one")


def test_a_machine_that_is_gone_is_booted_again_with_its_disk(site: Home) -> None:
    site.ok("ssh", "-s", "one", "se", "--", "touch /root/mark; sync", timeout_s=60)
    site.ok("domain", "--monitor", "box", "destroy", "one.se")
    site.ok("up", "one", timeout_s=UP_S)
    site.ok("ssh", "-s", "one", "se", "--", "test", "-e", "/root/mark")


def test_a_connection_that_is_lost_in_the_middle_of_up_is_told_and_the_next_up_finishes(site: Home) -> None:
    """While dom0 creates the domain: it goes on with that, and nobody here knows."""
    dom0 = box_of(Host(site.places, Bus())).dom0
    site.ok("domain", "--monitor", "box", "destroy", "one.se")
    raising = site.start("up", "one")
    being_made = Command(("test", "-e", f"{NOTES}/one.se.json"))
    eventually(lambda: dom0.run(being_made, timeout_s=60, check=False).status == 0, seconds=120)
    shared = Local().run(Command((*dom0.argv[:-2], "-O", "check", *dom0.argv[-2:])), timeout_s=60).stderr
    os.kill(int(shared.partition("pid=")[2].partition(")")[0]), signal.SIGKILL)
    said = raising.communicate(timeout=UP_S)[1]
    assert (raising.returncode, "cannot be reached" in said) == (3, True), said
    site.ok("up", "one", timeout_s=UP_S)
    assert site.ok("ssh", "-s", "one", "se", "--", "systemctl", "is-active", "xrootd@se").strip() == "active"
    assert [line.split()[0] for line in site.ok("domain", "--monitor", "box", "list").splitlines()].count("one.se") == 1


def off_by_s(site: Home) -> float:
    """How far the machine's clock is from ours."""
    said = float(site.ok("ssh", "-s", "one", "se", "--", "date", "+%s.%N"))
    return abs(time.time() - said)


def test_it_is_kept_with_the_box_and_its_clock_is_right(site: Home) -> None:
    site.ok("ssh", "-s", "one", "se", "--", "echo kept >/run/note")
    site.ok("host", "box", "down")
    refused = site.run("status", "one")
    assert (refused.returncode, "gridvisor host box up" in refused.stderr) == (2, True)
    time.sleep(20)
    site.ok("host", "box", "up")
    assert off_by_s(site) < 5
    assert site.ok("ssh", "-s", "one", "se", "--", "cat", "/run/note") == "kept\n"
    site.ok("domain", "--monitor", "box", "reboot", "one.se")
    eventually(
        lambda: site.run("ssh", "-s", "one", "se", "--", "test", "!", "-e", "/run/note").returncode == 0, seconds=200
    )


def test_a_down_of_the_box_that_is_killed_leaves_its_guests_running(site: Home) -> None:
    for after_s in (1.0, 2.5):
        keeping = site.start("host", "box", "down")
        time.sleep(after_s)
        keeping.kill()
        keeping.wait()
        site.ok("host", "box", "up")
        assert off_by_s(site) < 5
        assert "-ss-" not in site.ok("host", "box", "ssh", "--", "xl", "list")


def test_a_domain_is_saved_with_its_memory_and_goes_on(site: Home) -> None:
    site.ok("ssh", "-s", "one", "se", "--", "echo saved >/run/note")
    verbs = ("domain", "--monitor", "box")
    site.ok(*verbs, "save", "one.se", "/root/se.save", timeout_s=300)
    assert "one.se" not in site.ok(*verbs, "list")
    site.ok(*verbs, "restore", "/root/se.save", timeout_s=300)
    assert site.ok("ssh", "-s", "one", "se", "--", "cat", "/run/note") == "saved\n"
    assert off_by_s(site) < 5
    refused = site.run(*verbs, "save", "one.se", "/root/se.save")
    assert (refused.returncode, "already" in refused.stderr) == (2, True)


# Counts in its own memory, and writes nothing but when it is asked to.
COUNTER = """\
nohup sh -c 'count=0; trap "echo \\$count >/run/count" USR1; while :; do count=$((count + 1)); sleep 0.2; done' \\
    >/dev/null 2>&1 </dev/null &
echo $! >/run/counter
"""


def count_of(site: Home, pid: str) -> int:
    """What the process with that id has counted to."""
    ask = f"rm -f /run/count; kill -USR1 {pid}; until [ -s /run/count ]; do sleep 0.1; done; cat /run/count"
    return int(site.ok("ssh", "-s", "one", "se", "--", ask, timeout_s=60))


def test_a_snapshot_has_its_memory_and_its_disks_of_one_moment(site: Home) -> None:
    def guest(command: str) -> str:
        return site.ok("ssh", "-s", "one", "se", "--", command, timeout_s=60)

    guest("echo before >/root/mark; sync")
    guest(COUNTER)
    pid = guest("cat /run/counter").strip()
    boot_id = guest("cat /proc/sys/kernel/random/boot_id")
    site.ok("snapshot", "one", "before", timeout_s=UP_S)
    at_take = count_of(site, pid)
    row = site.ok("domain", "--monitor", "box", "list")
    assert " --p" not in row, "none stays paused"

    guest("echo after >/root/mark; sync")
    time.sleep(20)
    late = count_of(site, pid)
    assert late > at_take
    guest(f"kill {pid}")
    for _ in range(2):  # as often as one likes
        site.ok("snapshot", "restore", "one", "before", timeout_s=UP_S)
        assert off_by_s(site) < 5
        assert guest("cat /root/mark") == "before\n"
        assert guest("cat /run/counter").strip() == pid
        assert guest("cat /proc/sys/kernel/random/boot_id") == boot_id, "it did not boot"
        first = count_of(site, pid)
        time.sleep(2)
        assert first < count_of(site, pid)
    assert guest("systemctl is-active xrootd@se").strip() == "active"
    assert "boot" not in site.run("up", "one", timeout_s=UP_S).stderr
    # Its file system is whole, as it is in memory and on the disk.
    guest("echo 3 >/proc/sys/vm/drop_caches; dd if=/root/mark iflag=direct 2>/dev/null | grep -q before")
    assert "EXT4-fs error" not in guest("dmesg")

    assert site.ok("snapshot", "list", "one").splitlines()[1].split()[:1] == ["before"]
    assert "gridvisor.snapshot." in site.ok("host", "box", "ssh", "--", LEFT)
    site.ok("snapshot", "rm", "one", "before", timeout_s=UP_S)
    left = site.ok("host", "box", "ssh", "--", LEFT)
    assert "gridvisor.snapshot." not in left
    assert ".save" not in left


def test_a_snapshot_that_is_killed_leaves_no_guest_paused(site: Home) -> None:
    for after_s in (2, 6, 12):
        taking = site.start("snapshot", "one", "half")
        time.sleep(after_s)
        taking.kill()
        taking.wait()
        eventually(lambda: site.run("ssh", "-s", "one", "se", "--", "true").returncode == 0, seconds=120)
        if "half" in site.ok("snapshot", "list", "one"):
            site.ok("snapshot", "rm", "one", "half", timeout_s=UP_S)
    site.ok("snapshot", "one", "whole", timeout_s=UP_S)
    site.ok("snapshot", "rm", "one", "whole", timeout_s=UP_S)
    assert "gridvisor.snapshot." not in site.ok("host", "box", "ssh", "--", LEFT)


def test_memory_and_processors_can_be_changed(site: Home) -> None:
    verbs = ("domain", "--monitor", "box")

    def row() -> list[str]:
        return next(line.split() for line in site.ok(*verbs, "list").splitlines() if line.startswith("one.se"))

    memory_mib = int(row()[2])
    site.ok(*verbs, "mem-set", "one.se", str(memory_mib - 16))
    eventually(lambda: int(row()[2]) == memory_mib - 16, seconds=60)
    site.ok(*verbs, "mem-set", "one.se", str(memory_mib))
    eventually(lambda: int(row()[2]) == memory_mib, seconds=60)
    refused = site.run(*verbs, "vcpu-set", "one.se", "7")
    assert refused.returncode != 0


def test_after_a_power_cut_it_comes_back_by_itself(site: Home) -> None:
    site.ok("domain", "--monitor", "box", "autostart", "one.se")
    site.ok("ssh", "-s", "one", "se", "--", "echo written >/root/mark; sync")
    os.kill(int((site.places.state / "box/qemu.pid").read_text().split()[0]), signal.SIGKILL)
    site.ok("host", "box", "up", timeout_s=BOX_S)
    assert "one.se" in site.ok("domain", "--monitor", "box", "list")
    site.ok("up", "one", timeout_s=UP_S)
    assert site.ok("ssh", "-s", "one", "se", "--", "cat", "/root/mark") == "written\n"
