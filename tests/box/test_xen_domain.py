"""A single machine on real Xen, from the same file as on User-Mode Linux, with the verbs as a user types them."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator

import pytest

from home import EXAMPLES, Home

pytestmark = [pytest.mark.box, pytest.mark.slow]

VM1 = EXAMPLES / "vm1.cfg"
VERBS = ("domain", "--monitor", "box")
CREATE_S = 900.0
LEFT = "xl list; lvs vg0; ls /etc/xen/*.cfg /etc/xen/auto /var/lib/gridvisor/domains; ip netns; losetup"


@pytest.fixture(scope="module")
def vm1(box: Home) -> Iterator[Home]:
    """The box with vm1 of the examples in it; in the end, nothing may be left of it."""
    box.ok(*VERBS, "create", "--wait", "--timeout", "600", VM1, timeout_s=CREATE_S)
    yield box
    box.ok(*VERBS, "destroy", "--volumes", "vm1")
    left = box.ok("host", "box", "ssh", "--", LEFT)
    assert "vm1" not in left
    assert "gv-" not in left


def test_it_is_a_debian_under_xen_with_its_swap(vm1: Home) -> None:
    said = vm1.ok(*VERBS, "ssh", "vm1", "--", "hostname; cat /sys/hypervisor/type; swapon --noheadings --show=NAME")
    assert said.split() == ["vm1", "xen", "/dev/xvdb"]


def test_info_tells_of_dom0_and_of_any_domain(vm1: Home) -> None:
    host = _facts(vm1.ok(*VERBS, "info"))
    assert (host["host"], host["monitor"]) == ("box", "xen")
    assert host["xen_version"].startswith("4.")
    mine = _facts(vm1.ok(*VERBS, "info", "vm1"))
    assert (mine["memory"], mine["macs"], mine["ours"]) == ("256", "00:16:3e:00:00:01", "True")
    assert mine["address"] in vm1.ok(*VERBS, "ssh", "vm1", "--", "ip -brief address show eth0")
    theirs = _facts(vm1.ok(*VERBS, "info", "Domain-0"))
    assert (theirs["state"], theirs["ours"]) == ("running", "False")


def _facts(said: str) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition(" : ") for line in said.splitlines())}


def test_top_tells_of_all_domains(vm1: Home) -> None:
    head, *rows = vm1.ok(*VERBS, "top", "-i", "1").splitlines()
    assert head.split()[:2] == ["NAME", "STATE"]
    assert sorted(row.split()[0] for row in rows) == ["Domain-0", "vm1"]


def test_a_second_create_is_refused_unless_that_is_fine(vm1: Home) -> None:
    assert "'vm1' exists already" in vm1.refused(*VERBS, "create", VM1)
    vm1.ok(*VERBS, "create", "--exists-ok", VM1)


def test_the_console_is_the_guests_until_ctrl_and_bracket(vm1: Home) -> None:
    keyboard, terminal = pty.openpty()
    argv = vm1.argv(*VERBS, "console", "vm1")
    with subprocess.Popen(argv, stdin=terminal, stdout=terminal, stderr=terminal, env=vm1.environment) as console:
        os.close(terminal)
        said, end = b"", time.monotonic() + 90
        while b"answer=42" not in said:
            assert time.monotonic() < end, said
            os.write(keyboard, b"echo answer=$((6 * 7))\n")
            while select.select([keyboard], [], [], 5)[0]:
                said += os.read(keyboard, 4096)
        assert b"ctrl-] leaves the console" in said
        os.write(keyboard, b"\x1d")
        assert console.wait(timeout=60) == 0
    os.close(keyboard)


def test_changes_that_cannot_be_are_refused_with_the_reason(vm1: Home) -> None:
    assert "at most those that it was created with" in vm1.refused(*VERBS, "vcpu-set", "vm1", "2")
    assert "mem-max" in vm1.refused(*VERBS, "mem-set", "vm1", "4000")


def test_its_clock_is_right_after_it_stood_still_with_the_box(vm1: Home) -> None:
    vm1.ok("host", "box", "down")
    time.sleep(20)
    vm1.ok("host", "box", "up")
    assert abs(time.time() - float(vm1.ok(*VERBS, "ssh", "vm1", "--", "date", "+%s.%N"))) < 10
