"""The verbs of `gridvisor domain`, as a user types them, on Debian guests that really run."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import termios
import time
from collections.abc import Iterator

import pytest

from conftest import eventually
from home import EXAMPLES, Home

pytestmark = pytest.mark.uml

VM1 = EXAMPLES / "vm1.cfg"
VMID = EXAMPLES / "vmid.cfg"
IDENTITY = "cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub"


@pytest.fixture
def vm1(shared_home: Home) -> Home:
    """The home with vm1 of the examples running in it; the first test that asks boots it."""
    shared_home.ok("domain", "create", "--wait", "--exists-ok", VM1)
    return shared_home


@pytest.fixture
def quiet_home(shared_home: Home) -> Iterator[Home]:
    """The home for domains beside vm1, which end with the test."""
    before = {row["name"] for row in shared_home.rows()}
    yield shared_home
    for row in shared_home.rows():
        if row["name"] not in before:
            shared_home.ok("domain", "destroy", "--volumes", row["name"])


def test_list_prints_what_xl_prints(vm1: Home) -> None:
    head, row = vm1.ok("domain", "list").splitlines()
    assert head == "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    assert re.fullmatch(r"vm1 {38} {0,4}\d+   256     1     r-----  {1,8}\d+\.\d", row), row
    (facts,) = vm1.rows()
    assert (facts["name"], facts["memory_mib"], facts["state"]) == ("vm1", 256, "running")
    assert "no domain 'vm2'" in vm1.refused("domain", "list", "vm2")


def test_ssh_runs_commands_and_passes_their_exit_status_on(vm1: Home) -> None:
    assert re.match(r"Linux vm1 \S+ .*GNU/Linux$", vm1.ssh("vm1", "uname -a"))
    assert vm1.run("domain", "ssh", "vm1", "--", "exit 7").returncode == 7
    assert vm1.ok("domain", "ssh", "vm1", "--", "printf", "%s|", "a b", "$HOME") == "a b|$HOME|"
    assert "vm2" in vm1.refused("domain", "ssh", "vm2", "--", "true")


def test_info_and_top_tell_of_the_domain_and_of_the_host(vm1: Home) -> None:
    facts = dict(re.split(r" +: ", line, maxsplit=1) for line in vm1.ok("domain", "info", "vm1").splitlines())
    assert (facts["name"], facts["memory"], facts["macs"]) == ("vm1", "256", "00:16:3e:00:00:01")
    assert facts["address"] in vm1.ssh("vm1", "ip -brief address show eth0")
    assert "free_memory" in vm1.ok("domain", "info")
    head, row = vm1.ok("domain", "top", "--delay", "0.2", "-i", "1").splitlines()
    assert head.split() == ["NAME", "STATE", "CPU(sec)", "CPU(%)", "HELD(MiB)", "MEM(MiB)"]
    assert row.split()[:2] == ["vm1", "running"]


def test_the_guest_is_a_whole_debian(vm1: Home) -> None:
    eventually(lambda: vm1.ssh("vm1", "systemctl is-system-running || true") != "starting")
    assert vm1.ssh("vm1", "systemctl is-system-running || systemctl --failed --no-legend") == "running"
    assert "/dev/" in vm1.ssh("vm1", "swapon --show --noheadings")
    assert vm1.ssh("vm1", "modprobe overlay && grep -c overlay /proc/filesystems") == "1"
    assert vm1.ssh("vm1", "logger it-is-kept; journalctl --sync; journalctl --grep it-is-kept --output cat") != ""
    assert vm1.ssh("vm1", "hostname; getent hosts vm1 | wc -l").split() == ["vm1", "1"]


def test_a_paused_domain_stands_still_until_it_is_unpaused(vm1: Home) -> None:
    vm1.ok("domain", "pause", "vm1")
    assert "--p---" in vm1.ok("domain", "list", "vm1")
    before = vm1.rows()[0]["cpu_s"]
    assert "paused" in vm1.refused("domain", "shutdown", "vm1")
    assert vm1.rows()[0]["cpu_s"] == before
    vm1.ok("domain", "unpause", "vm1")
    assert "r-----" in vm1.ok("domain", "list", "vm1")
    assert vm1.ssh("vm1", "echo back") == "back"


def test_a_renamed_domain_answers_by_its_new_name(vm1: Home) -> None:
    vm1.ok("domain", "rename", "vm1", "other")
    assert [row["name"] for row in vm1.rows()] == ["other"]
    assert vm1.ssh("other", "hostname") == "vm1"
    assert "vm1" in vm1.refused("domain", "ssh", "vm1", "--", "true")
    vm1.refused("domain", "rename", "other", "../up")
    vm1.ok("domain", "rename", "other", "vm1")
    assert vm1.ssh("vm1", "hostname") == "vm1"


def test_a_reboot_comes_back_as_the_same_machine(vm1: Home) -> None:
    # ssh checks the host key strictly: it would not let us in to another machine.
    before, boot = vm1.ssh("vm1", IDENTITY), vm1.ssh("vm1", "cat /proc/sys/kernel/random/boot_id")
    vm1.ok("domain", "reboot", "vm1")

    def rebooted() -> bool:
        done = vm1.run("domain", "ssh", "vm1", "--", "cat /proc/sys/kernel/random/boot_id")
        return done.returncode == 0 and done.stdout.strip() != boot

    eventually(rebooted, seconds=60)
    assert vm1.ssh("vm1", IDENTITY) == before


def test_what_was_shut_down_is_created_again_as_it_was(vm1: Home) -> None:
    before = vm1.ssh("vm1", f"echo kept > /root/note; {IDENTITY}")
    vm1.ok("domain", "shutdown", "-w", "vm1")
    assert vm1.rows() == []
    assert vm1.processes() == []
    assert vm1.taps() == []
    vm1.ok("domain", "create", "--wait", VM1)
    assert vm1.ssh("vm1", "cat /root/note") == "kept"
    assert vm1.ssh("vm1", IDENTITY) == before


def test_clones_share_nothing_that_should_be_ones_own(quiet_home: Home) -> None:
    home = quiet_home
    numbers = (11, 12)
    creates = [home.start("domain", "create", "--wait", VMID, f"vmid={n}") for n in numbers]
    for create in creates:
        _, stderr = create.communicate(timeout=120)
        assert create.returncode == 0, stderr
    asked = "cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_*_key.pub; cat /sys/class/net/eth0/address"
    first, second = (
        home.ssh(f"vm{n}", f"{asked}; ip -4 -brief address show eth0 | tr -s ' ' | cut -d' ' -f3").split()
        for n in numbers
    )
    assert len(first) == len(second) == 4
    assert not set(first) & set(second)


def test_an_address_by_dhcp_and_a_published_port(quiet_home: Home) -> None:
    home, port = quiet_home, free_port()
    home.ok("domain", "create", "--wait", "--publish", f"{port}:22", VMID, "vmid=13", "dhcp=dhcp")
    address = dict(re.split(r" +: ", line, maxsplit=1) for line in home.ok("domain", "info", "vm13").splitlines())[
        "address"
    ]
    assert f"inet {address}/24" in home.ssh("vm13", "ip address show eth0")
    assert "dynamic" in home.ssh("vm13", "ip address show eth0")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        assert connection.recv(64).startswith(b"SSH-2.0-")
    assert str(port) in home.refused("domain", "create", "--publish", f"{port}:22", VMID, "vmid=14")
    home.ok("domain", "destroy", "--volumes", "vm13")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("words", ["mem-set vm1 128", "mem-max vm1 128", "vcpu-set vm1 2", "save vm1 f", "restore f"])
def test_what_this_monitor_cannot_do_it_says(shared_home: Home, words: str) -> None:
    verb, *_ = words.split()
    assert f"The monitor 'uml' cannot do '{verb}'" in shared_home.refused("domain", *words.split())


def test_the_console_attaches_and_leaves_the_terminal_as_it_was(vm1: Home) -> None:
    vm1.ok("domain", "destroy", "vm1")
    child, terminal = pty.fork()
    if child == 0:
        argv = vm1.argv("domain", "create", "-c", VM1)
        os.execve(argv[0], argv, vm1.environment)
    try:
        before = termios.tcgetattr(terminal)
        heard = hear(terminal, b"login: ")
        assert b"ctrl-]" in heard
        assert not termios.tcgetattr(terminal)[3] & termios.ICANON
        os.write(terminal, b"\x1d")
        eventually(lambda: os.waitpid(child, os.WNOHANG) == (child, 0))
        assert termios.tcgetattr(terminal) == before
        assert [row["name"] for row in vm1.rows()] == ["vm1"]
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(terminal)


def hear(terminal: int, text: bytes) -> bytes:
    """What comes from the terminal until `text` has come."""
    heard, end = b"", time.monotonic() + 60
    while text not in heard:
        assert time.monotonic() < end, heard
        if select.select([terminal], [], [], 1)[0]:
            heard += os.read(terminal, 65536)
    return heard


def test_destroy_with_volumes_leaves_nothing(vm1: Home) -> None:
    vm1.ok("domain", "destroy", "--volumes", "vm1")
    assert vm1.rows() == []
    eventually(lambda: vm1.processes() == vm1.folders("domains") == [])
    assert vm1.folders("machines") == []
    assert vm1.ok("volume", "list").splitlines()[1:] == []
    assert vm1.namespaces() == []
    assert "vm1" in vm1.refused("domain", "destroy", "vm1")
