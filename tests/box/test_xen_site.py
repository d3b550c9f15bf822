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
from home import Home

pytestmark = [pytest.mark.box, pytest.mark.slow]

UP_S = 900.0
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
    left = box.ok("host", "box", "ssh", "--", "xl list; lvs vg0; ls /etc/xen /var/lib/gridvisor/domains; ip netns")
    assert "one" not in left


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
