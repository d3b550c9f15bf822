"""The box as a user has it: a real Xen, made, kept with what runs in it, cut off from power, removed."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from conftest import BOX_S
from gridvisor.app.host import Host
from gridvisor.app.pace import Pace
from gridvisor.app.xen_host import host_at
from gridvisor.core.events import Bus
from home import Home

pytestmark = pytest.mark.box


def status(home: Home) -> dict[str, Any] | None:
    told: dict[str, Any] | None = json.loads(home.ok("host", "box", "status", "-o", "json"))
    return told


def dom0(home: Home, *words: str) -> str:
    return home.ok("host", "box", "ssh", "--", *words)


def test_it_is_a_xen_host(box: Home) -> None:
    assert dom0(box, "xl", "list").split()[6:9] == ["Domain-0", "0", "512"]
    info = dict(line.split(":", 1) for line in dom0(box, "xl", "info").splitlines())
    facts = {key.strip(): value.strip() for key, value in info.items()}
    told = status(box)
    assert told is not None
    assert f"{facts['xen_major']}.{facts['xen_minor']}" == told["xen"]
    assert (told["state"], told["hardware"]["memory_mib"]) == ("running", 2048)
    assert 2000 <= int(facts["total_memory"]) <= 2048
    assert dom0(box, "vgs --noheadings -o vg_size --units m vg0").split() == ["4092.00m"]
    assert "xenbr0" in dom0(box, "ip", "link", "show", "type", "bridge")


def test_its_guests_are_given_the_time_that_its_processors_need(box: Home) -> None:
    told = status(box)
    assert told is not None
    pace = host_at(Host(box.places, Bus()), "box").pace()
    usual = Pace() == pace
    assert usual is (told["hardware"]["accelerator"] == "kvm")
    assert usual or pace.at_once == told["hardware"]["cpus"]


def test_nothing_of_it_gets_out(box: Home) -> None:
    """QEMU's own addresses of this machine (10.0.2.2) and a name server (10.0.2.3) are out of reach as well."""
    for place in ("10.0.2.2:22", "10.0.2.3:53", "192.0.2.1:80"):
        said = dom0(box, f"timeout 3 socat -u /dev/null TCP:{place} 2>&1; echo status $?")
        assert "status 0" not in said, place


def test_up_again_changes_nothing(box: Home) -> None:
    def facts() -> dict[str, object]:
        """But for what its disks take: dom0 writes to them when it likes."""
        return {**(status(box) or {}), "used_bytes": None}

    before = facts()
    box.ok("host", "box", "up")
    assert facts() == before
    refused = box.run("host", "box", "up", "--memory", "8GiB")
    assert (refused.returncode, "stays what it is" in refused.stderr) == (2, True)


def test_it_goes_on_where_it_was_kept(box: Home) -> None:
    pid = dom0(box, "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    dom0(box, "echo kept >/root/note")
    box.ok("host", "box", "down")
    box.ok("host", "box", "down")
    told = status(box)
    assert told is not None
    assert (told["state"], told["since_s"]) == ("saved", None)
    refused = box.run("host", "box", "ssh", "--", "true")
    assert (refused.returncode, "host box up" in refused.stderr) == (2, True)
    time.sleep(3)  # the time that its clock has to make up for
    box.ok("host", "box", "up")
    assert dom0(box, f"cat /proc/{pid.strip()}/comm") == "sleep\n", "it went on, and did not boot"
    assert abs(float(dom0(box, "date", "+%s.%N")) - time.time()) < 2
    assert dom0(box, "cat", "/root/note") == "kept\n"


def test_what_was_kept_is_resumed_once(box: Home) -> None:
    """After a power cut it boots: were it resumed again, its disks would jump back to when it was kept."""
    box.ok("host", "box", "down")
    box.ok("host", "box", "up")
    dom0(box, "echo later >/root/note; sync; lvcreate -q -n data -L 64m vg0")
    uptime_s = float(dom0(box, "cat", "/proc/uptime").split()[0])
    os.kill(qemu_of(box), signal.SIGKILL)
    told = status(box)
    assert told is not None
    assert told["state"] == "off"
    box.ok("host", "box", "up", timeout_s=BOX_S)
    assert float(dom0(box, "cat", "/proc/uptime").split()[0]) < uptime_s
    assert dom0(box, "cat", "/root/note") == "later\n"
    assert "data" in dom0(box, "lvs --noheadings -o lv_name vg0").split()


def test_up_may_be_killed_while_it_boots(box: Home) -> None:
    box.ok("host", "box", "down", "--power-off")
    told = status(box)
    assert told is not None
    assert told["state"] == "off"
    killed = box.start("host", "box", "up")
    time.sleep(3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    box.ok("host", "box", "up", timeout_s=BOX_S)
    assert "Domain-0" in dom0(box, "xl", "list")


@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.7])
def test_down_may_be_killed(box: Home, after_s: float) -> None:
    """Whatever it was at, the box goes on with what ran in it."""
    pid = dom0(box, "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    killed = box.start("host", "box", "down")
    time.sleep(after_s)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    box.ok("host", "box", "up", timeout_s=BOX_S)
    assert dom0(box, f"cat /proc/{pid.strip()}/comm") == "sleep\n"


def qemu_of(home: Home) -> int:
    return int((home.places.state / "box/qemu.pid").read_text().split()[0])
