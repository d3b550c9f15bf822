"""Networks of guests with real namespaces, bridges, taps, dnsmasq and socat."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.places import Places
from gridvisor.network import namespace
from gridvisor.network.dhcp import Dhcp, Lease
from gridvisor.network.namespace import HostNetwork, Tap, network_names
from gridvisor.network.publish import check_free, forward
from gridvisor.network.tap import add_tap, remove_tap
from gridvisor.run.command import Command, Result
from gridvisor.run.local import Local

pytestmark = pytest.mark.uml

GUEST = IPv4Address("10.77.0.5")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    places = Places(tmp_path / "cache", tmp_path / "state")
    yield places
    for name in network_names(places):
        HostNetwork(places, name).remove()


@pytest.fixture
def network(places: Places) -> HostNetwork:
    return HostNetwork(places)


def inside(network: HostNetwork, *argv: str, check: bool = True) -> Result:
    return network.in_namespace(Local()).run(Command(argv), timeout_s=20, check=check)


def with_tap(network: HostNetwork, tap: str) -> None:
    """`ensure`, and a tap as the keeper of a guest makes it."""
    network.ensure()
    for argv in add_tap(network.namespace, tap, network.bridge):
        Local().run(Command(argv), timeout_s=20)


def link_names(network: HostNetwork) -> set[str]:
    return {link["ifname"] for link in json.loads(inside(network, "ip", "-j", "link").stdout)}


def left_overs(network: HostNetwork) -> list[str]:
    """Everything of the network that could have been forgotten: its namespace, and processes that name its folder."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text()
        except OSError:
            continue
        if network.namespace in words or str(network.places.state) in words:
            processes.append(words.replace("\0", " "))
    return [*processes, *(path.name for path in namespace.NAMESPACES.glob(network.namespace))]


def eventually_nothing_left(network: HostNetwork) -> None:
    end = time.monotonic() + 5
    while left_overs(network) and time.monotonic() < end:
        time.sleep(0.02)
    assert left_overs(network) == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_kernel_shows_bridge_and_tap_and_nothing_that_leads_out(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    links = {link["ifname"]: link for link in json.loads(inside(network, "ip", "-j", "-d", "address").stdout)}
    kinds = {name: link.get("linkinfo", {}).get("info_kind") for name, link in links.items()}
    assert kinds == {"lo": None, "xenbr0": "bridge", "gv-a": "tun"}
    assert links["gv-a"]["master"] == "xenbr0"
    assert [(a["local"], a["prefixlen"]) for a in links["xenbr0"]["addr_info"]] == [("10.77.0.1", 24)]
    assert "UP" in links["lo"]["flags"]
    routes = json.loads(inside(network, "ip", "-j", "route").stdout)
    assert [route["dst"] for route in routes] == ["10.77.0.0/24"]
    assert inside(network, "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "0\n"
    assert inside(network, "cat", "/proc/sys/net/ipv6/conf/default/disable_ipv6").stdout == "1\n"
    assert network.taps() == (Tap("gv-a", "xenbr0", in_use=False),)


def test_a_second_ensure_changes_nothing(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    before = inside(network, "ip", "-j", "address").stdout
    recorder = Failing(at=-1)
    again = HostNetwork(network.places, target=recorder)
    again.ensure()
    assert inside(network, "ip", "-j", "address").stdout == before
    assert recorder.ran == ["ip -json -details address show"]


def test_two_at_once_bring_up_one(places: Places) -> None:
    networks = [HostNetwork(places) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: with_tap(pair[1], f"gv-{pair[0]}"), enumerate(networks)))
    assert {tap.name for tap in networks[0].taps()} == {f"gv-{i}" for i in range(8)}
    assert network_names(places) == ("default",)


def test_two_networks_do_not_see_one_another(places: Places) -> None:
    one, two = HostNetwork(places, "one"), HostNetwork(places, "two")
    with_tap(one, "gv-same")
    two.ensure()
    assert link_names(two) == {"lo", "xenbr0"}
    other = HostNetwork(places, "three", subnet=IPv4Network("10.78.0.0/24"))
    other.ensure()
    assert knock(one, "10.77.0.1") == "ECONNREFUSED"  # it is there, and nothing listens
    assert knock(one, "10.78.0.1") == "ENETUNREACH"
    assert network_names(places) == ("one", "three", "two")


def knock(network: HostNetwork, address: str) -> str:
    """The error that a TCP connection to the address ends with."""
    code = "import errno, socket, sys; print(errno.errorcode[socket.socket().connect_ex((sys.argv[1], 9))])"
    return inside(network, sys.executable, "-c", code, address).stdout.strip()


def test_a_tap_that_a_killed_guest_left_is_replaced_and_removed(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    with_tap(network, "gv-a")
    assert network.taps() == (Tap("gv-a", "xenbr0", in_use=False),)
    for _ in range(2):
        Local().run(Command(remove_tap(network.namespace, "gv-a")), timeout_s=20)
        assert link_names(network) == {"lo", "xenbr0"}


def test_another_subnet_is_refused_and_the_network_stays(network: HostNetwork) -> None:
    network.ensure()
    with pytest.raises(Refused, match=re.escape("exists with 10.77.0.0/24, not with 10.9.0.0/24")):
        HostNetwork(network.places, subnet=IPv4Network("10.9.0.0/24")).ensure()
    assert network.exists()


def test_a_tap_that_a_guest_holds_keeps_the_network(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    with tap_held(network, "gv-a"):
        assert network.taps() == (Tap("gv-a", "xenbr0", in_use=True),)
        with pytest.raises(Refused, match="Guests run in network 'default', on gv-a"):
            network.remove()
        assert not network.remove_if_idle(lambda: False)
    network.remove()
    assert not network.exists()


@contextmanager
def tap_held(network: HostNetwork, tap: str) -> Iterator[None]:
    """The tap is open, as a guest has it."""
    argv = ["nsenter", f"--net=/run/netns/{network.namespace}", sys.executable, "-c", HOLD_TAP, tap]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"held\n"
            yield
        finally:
            holder.kill()


HOLD_TAP = """
import fcntl, struct, sys, time
tun = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x0002 | 0x1000))
print("held", flush=True)
time.sleep(60)
"""


def test_remove_leaves_nothing(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    Dhcp(network).add(Lease("00:16:3e:00:00:05", GUEST, "vm5"))
    assert len(left_overs(network)) == 2  # the namespace, dnsmasq
    network.remove()
    eventually_nothing_left(network)
    assert not network.folder.exists()
    network.remove()


def test_an_idle_network_goes_with_all_that_runs_for_it(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    Dhcp(network).add(Lease("00:16:3e:00:00:05", GUEST, "vm5"))
    assert not network.remove_if_idle(lambda: True)
    assert len(left_overs(network)) == 2
    assert network.remove_if_idle(lambda: False)
    eventually_nothing_left(network)
    assert network.remove_if_idle(lambda: False)


def test_whoever_is_about_to_use_a_network_keeps_it(network: HostNetwork) -> None:
    with network.users():
        network.ensure()
        with network.users():
            assert not network.remove_if_idle(lambda: False)
        assert not network.remove_if_idle(lambda: False)
        assert network.exists()
    assert network.remove_if_idle(lambda: False)
    assert not network.exists()


USE = """
import sys
from pathlib import Path
from gridvisor.core.places import Places
from gridvisor.network.namespace import HostNetwork
network = HostNetwork(Places(Path(sys.argv[1]), Path(sys.argv[2])))
for _ in range(20):
    with network.users():
        network.ensure()
        assert network.exists()
"""


def test_users_and_removers_at_once(network: HostNetwork) -> None:
    """Nobody who holds `users` ever loses the network, and once nobody does it goes."""
    argv = [sys.executable, "-c", USE, str(network.places.cache), str(network.places.state)]
    users = [subprocess.Popen(argv) for _ in range(2)]
    removed = 0
    while any(user.poll() is None for user in users):
        removed += network.exists() and network.remove_if_idle(lambda: False)
    assert [user.returncode for user in users] == [0, 0]
    network.remove_if_idle(lambda: False)
    eventually_nothing_left(network)
    assert removed or not network.exists()


@dataclass
class Failing:
    """This machine, but the command number `at` fails; counted from 0."""

    at: int
    name: str = "local"
    ran: list[str] = field(default_factory=list)
    broke: bool = False

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        number = len(self.ran)
        self.ran.append(" ".join(w for w in command.argv if not w.startswith(("nsenter", "--net=")) and w != "--"))
        if number == self.at:
            self.broke = True
            raise GridvisorError(f"command {number} was made to fail")
        return Local().run(command, timeout_s=timeout_s, check=check)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        raise NotImplementedError

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        raise NotImplementedError


def test_failing_at_each_command_in_turn_leaves_nothing(places: Places) -> None:
    failures = 0
    for at in range(20):
        target = Failing(at)
        network = HostNetwork(places, target=target)
        try:
            network.ensure()
        except GridvisorError:
            failures += 1
            assert left_overs(network) == []
        else:
            assert not target.broke
            break
    assert failures == 3  # add the namespace, look, set up


def test_an_ensure_that_fails_leaves_what_was_there(network: HostNetwork) -> None:
    with_tap(network, "gv-a")
    inside(network, "ip", "link", "set", "dev", "xenbr0", "down")
    for at in (0, 1):
        with pytest.raises(GridvisorError, match="made to fail"):
            HostNetwork(network.places, target=Failing(at)).ensure()
        assert [tap.name for tap in network.taps()] == ["gv-a"]


ENSURE = """
import sys
from pathlib import Path
from gridvisor.core.places import Places
from gridvisor.network.namespace import HostNetwork
HostNetwork(Places(Path(sys.argv[1]), Path(sys.argv[2]))).ensure()
"""


@pytest.mark.parametrize("commands_done", [0, 1, 2, 3])
def test_killed_in_the_middle_it_works_the_next_time(network: HostNetwork, commands_done: int) -> None:
    """The process dies by SIGKILL just before its command number `commands_done`."""
    die = f"""
import os, gridvisor.run.local as local
run, left = local.Local.run, iter(range({commands_done}))
def deadly(self, command, **kw):
    if next(left, None) is None:
        os.kill(os.getpid(), 9)
    return run(self, command, **kw)
local.Local.run = deadly
"""
    argv = [sys.executable, "-c", die + ENSURE, str(network.places.cache), str(network.places.state)]
    status = subprocess.run(argv, check=False).returncode
    assert status == (0 if commands_done == 3 else -signal.SIGKILL)
    network.ensure()
    assert link_names(network) == {"lo", "xenbr0"}
    assert inside(network, "cat", "/proc/sys/net/ipv6/conf/default/disable_ipv6").stdout == "1\n"


def test_a_file_without_a_namespace_is_replaced(network: HostNetwork) -> None:
    """`ip netns add` makes the file first and mounts the namespace on it afterwards."""
    namespace.NAMESPACES.mkdir(exist_ok=True)
    (namespace.NAMESPACES / network.namespace).touch()
    assert not network.exists()
    assert network.taps() == ()
    network.ensure()
    assert network.exists()


ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("listening", flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"guest says " + connection.recv(100))
"""


@pytest.fixture
def guest_service(network: HostNetwork) -> Iterator[HostNetwork]:
    """Something that listens at port 8080 of the network's own address."""
    network.ensure()
    argv = ["nsenter", f"--net=/run/netns/{network.namespace}", sys.executable, "-c", ECHO, "10.77.0.1", "8080"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"listening\n"
        yield network
        listener.kill()


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello")
        answer = b""
        while piece := connection.recv(100):
            answer += piece
        return answer


@contextmanager
def published(network: HostNetwork, address: str) -> Iterator[int]:
    """A port of this machine's 127.0.0.1 that leads to port 8080 of that address in the network."""
    port = free_port()
    argv = forward(network.namespace, port, address=IPv4Address(address), guest_port=8080)
    with subprocess.Popen(argv, start_new_session=True) as forwarder:
        try:
            while (Path(f"/proc/{forwarder.pid}/net/tcp")).read_text().count(f":{port:04X} 00000000:0000 0A") == 0:
                assert forwarder.poll() is None
                time.sleep(0.005)
            yield port
        finally:
            os.killpg(forwarder.pid, signal.SIGKILL)


def test_a_published_port_answers_while_its_forwarder_runs(guest_service: HostNetwork) -> None:
    with published(guest_service, "10.77.0.1") as port:
        assert ask(port) == ask(port) == b"guest says hello"
        with pytest.raises(Refused, match=f"Port {port} of 127.0.0.1 is taken"):
            check_free(port)
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    check_free(port)


def test_a_published_port_of_a_guest_that_does_not_listen_closes(network: HostNetwork) -> None:
    network.ensure()
    with published(network, "10.77.0.1") as port:
        assert ask_or_reset(port) == b""


def ask_or_reset(port: int) -> bytes:
    try:
        return ask(port)
    except ConnectionResetError:
        return b""


@pytest.fixture
def client(network: HostNetwork) -> Iterator[str]:
    """A namespace whose `eth0`, of a known MAC, is plugged into the network's bridge; what a guest's card is."""
    network.ensure()
    name = f"gvtest-{network.places.tag}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "add", "eth0", "address", "00:16:3e:00:00:05", "type", "veth",
           "peer", "name", "plug", "netns", network.namespace)  # fmt: skip
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", network.namespace, "link", "set", "plug", "master", "xenbr0", "up")
        yield name
    finally:
        ip("netns", "delete", name)


def dhcp_offer(namespace_name: str) -> dict[str, str]:
    """What a client in the namespace is offered: `address`, and the options as hexadecimal by number."""
    argv = ["nsenter", f"--net=/run/netns/{namespace_name}", sys.executable, __file__]
    run = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    answer: dict[str, str] = json.loads(run.stdout)
    return answer


def test_dhcp_gives_the_lease_and_no_router(network: HostNetwork, client: str) -> None:
    dhcp = Dhcp(network)
    dhcp.add(Lease("00:16:3e:00:00:05", GUEST, "vm5"))
    offer = dhcp_offer(client)
    assert offer["address"] == str(GUEST)
    assert bytes.fromhex(offer["12"]) == b"vm5"  # host name
    assert bytes.fromhex(offer["6"]) == IPv4Address("10.77.0.1").packed  # name server
    assert "3" not in offer  # router


def test_dhcp_follows_a_change_without_a_restart(network: HostNetwork, client: str) -> None:
    dhcp = Dhcp(network)
    dhcp.add(Lease("00:16:3e:00:00:09", IPv4Address("10.77.0.9"), "vm9"))
    pid = (network.folder / "dhcp.pid").read_text()
    dhcp.add(Lease("00:16:3e:00:00:05", GUEST, "vm5"))
    assert (network.folder / "dhcp.pid").read_text() == pid
    assert dhcp_offer(client)["address"] == str(GUEST)
    dhcp.add(Lease("00:16:3e:00:00:05", IPv4Address("10.77.0.6"), "vm5"))
    assert dhcp_offer(client)["address"] == "10.77.0.6"
    assert len(dhcp.leases()) == 2


def test_dhcp_ends_with_its_last_lease_and_starts_again_when_killed(network: HostNetwork) -> None:
    network.ensure()
    dhcp = Dhcp(network)
    lease = Lease("00:16:3e:00:00:05", GUEST, "vm5")
    dhcp.add(lease)
    os.kill(int((network.folder / "dhcp.pid").read_text().split()[0]), signal.SIGKILL)
    while dhcp.running():
        time.sleep(0.01)
    dhcp.add(lease)
    assert dhcp.running()
    with pytest.raises(Refused, match=re.escape("10.77.0.5 is the address of 'vm5' already")):
        dhcp.add(Lease("00:16:3e:00:00:06", GUEST, "vm6"))
    dhcp.remove(["00:16:3e:00:00:06"])
    assert dhcp.leases() == (lease,)
    dhcp.remove([lease.mac])
    assert not dhcp.running()
    assert left_overs(network) == [network.namespace]


def test_leases_of_a_network_that_went_with_a_reboot_are_void(network: HostNetwork) -> None:
    network.ensure()
    dhcp = Dhcp(network)
    for number in (5, 6, 7):
        dhcp.add(Lease(f"00:16:3e:00:00:0{number}", IPv4Address(f"10.77.0.{number}"), f"vm{number}"))
    Local().run(Command.of("ip", "netns", "delete", network.namespace), timeout_s=20)
    dhcp.remove(["00:16:3e:00:00:05"])
    assert dhcp.leases() == ()
    network.ensure()
    assert not dhcp.running()
    assert left_overs(network) == [network.namespace]


def ask_for_a_lease() -> dict[str, str]:
    """One DHCPDISCOVER from eth0 over a packet socket, and the DHCPOFFER for it (RFC 2131)."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire:
        wire.bind(("eth0", 0))
        mac = fcntl.ioctl(wire, 0x8927, struct.pack("256s", b"eth0"))[18:24]
        bootp = struct.pack("!BBBBIHH4x4x4x4x", 1, 1, 6, 0, 0x1234, 0, 0x8000) + mac.ljust(16, b"\0") + bytes(192)
        bootp += b"\x63\x82\x53\x63" + b"\x35\x01\x01" + b"\x37\x04\x01\x03\x06\x0c" + b"\xff"
        udp = struct.pack("!HHHH", 68, 67, 8 + len(bootp), 0) + bootp
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]
        wire.settimeout(1)
        for _ in range(8):
            wire.send(b"\xff" * 6 + mac + b"\x08\x00" + header + udp)
            try:
                while True:
                    packet = wire.recv(2000)
                    if packet[23] == 17 and packet[36:38] == b"\0\x44" and packet[42] == 2:
                        return read_offer(packet[42:])
            except TimeoutError:
                continue
    raise SystemExit("no DHCPOFFER came")


def read_offer(bootp: bytes) -> dict[str, str]:
    offer, at = {"address": str(IPv4Address(bootp[16:20]))}, 240
    while bootp[at] != 255:
        number, length = bootp[at], bootp[at + 1]
        offer[str(number)] = bootp[at + 2 : at + 2 + length].hex()
        at += 2 + length
    return offer


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask_for_a_lease()))


def test_a_network_of_two_bridges_forwards_nothing_between_them(places: Places) -> None:
    subnets = (IPv4Network("10.20.0.0/24"), IPv4Network("10.20.1.0/24"))
    network = HostNetwork(places, "one", subnet=subnets[0], bridge="site", more=(("farm", subnets[1]),))
    network.ensure()
    network.ensure()
    shown = json.loads(inside(network, "ip", "-j", "address").stdout)
    addresses = {link["ifname"]: [a["local"] for a in link["addr_info"]] for link in shown}
    assert addresses == {"lo": ["127.0.0.1"], "site": ["10.20.0.1"], "farm": ["10.20.1.1"]}
    assert len({link["address"] for link in shown}) == 3
    assert inside(network, "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "0\n"
    with pytest.raises(Refused, match=r"exists with 10\.20\.1\.0/24, not with 10\.9\.0\.0/24"):
        HostNetwork(
            places, "one", subnet=subnets[0], bridge="site", more=(("farm", IPv4Network("10.9.0.0/24")),)
        ).ensure()
