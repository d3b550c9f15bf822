from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.places import Places
from gridvisor.network import namespace
from gridvisor.network.connect import proxy_command, ssh_argv
from gridvisor.network.dhcp import Lease, dnsmasq_argv, parse_hosts, render_hosts, render_names
from gridvisor.network.links import Bridge, Link, missing, parse_links
from gridvisor.network.namespace import HostNetwork
from gridvisor.network.publish import forward
from gridvisor.network.sockets import parse_sockets
from gridvisor.network.tap import add_tap, remove_tap
from gridvisor.network.way import through_namespace

RECORDED = Path(__file__).parents[1] / "data" / "ip" / "6.1-address.json"
BRIDGE = Bridge("xenbr0", "02:00:00:00:00:01", IPv4Interface("10.77.0.1/24"))
LO = Link("lo", "", None, True, True, (IPv4Interface("127.0.0.1/8"),))
XENBR0 = Link("xenbr0", "bridge", None, True, False, (IPv4Interface("10.77.0.1/24"),))
TAP = Link("gv-a", "tun", "xenbr0", True, False, ())


def test_recorded_output_is_read() -> None:
    assert parse_links(RECORDED.read_text()) == (LO, XENBR0, TAP)


@pytest.mark.parametrize("text", ["{", "{}x", '[{"ifname": "lo"}]', "[1]", '[{"ifname": "a", "flags": 3}]', '"x"'])
def test_unknown_output_is_said(text: str) -> None:
    with pytest.raises(ToolOutput, match="ip -json address"):
        parse_links(text)


def test_an_empty_namespace_gets_everything_the_bridge_last() -> None:
    assert missing([replace(LO, up=False)], BRIDGE) == [
        "link set dev lo up",
        "link add name xenbr0 address 02:00:00:00:00:01 type bridge stp_state 0 mcast_snooping 0",
        "address add 10.77.0.1/24 broadcast + dev xenbr0",
        "link set dev xenbr0 up",
    ]


def test_nothing_is_missing_when_all_is_there() -> None:
    assert missing([LO, XENBR0, TAP], BRIDGE) == []


@pytest.mark.parametrize(
    ("links", "line"),
    [
        ([LO, replace(XENBR0, up=False), TAP], "link set dev xenbr0 up"),
        ([LO, replace(XENBR0, addresses=()), TAP], "address add 10.77.0.1/24 broadcast + dev xenbr0"),
    ],
)
def test_only_what_is_missing_is_done(links: list[Link], line: str) -> None:
    assert missing(links, BRIDGE) == [line]


@pytest.fixture
def network() -> HostNetwork:
    return HostNetwork(Places(Path("/c"), Path("/s")))


def test_names_carry_the_tag(network: HostNetwork) -> None:
    assert network.namespace == f"gv-{network.places.tag}-default"
    assert str(network.address) == "10.77.0.1"


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "a\n", "-a", "a" * 33])
def test_bad_names_of_networks(network: HostNetwork, name: str) -> None:
    with pytest.raises(Refused, match="name of a network"):
        HostNetwork(network.places, name)


@pytest.mark.parametrize("bridge", ["", "a b", "x\nlink del lo", "a" * 16, "-x", "a/b", "."])
def test_bad_names_of_bridges_reach_no_command(network: HostNetwork, bridge: str) -> None:
    with pytest.raises(Refused, match="network interface"):
        replace(network, bridge=bridge)


def test_not_root(network: HostNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace.os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="needs root") as caught:
        replace(network, places=Places(tmp_path, tmp_path)).ensure()
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("sudo gridvisor")


def test_no_tun(network: HostNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace.os, "geteuid", lambda: 0)
    monkeypatch.setattr(namespace, "TUN", tmp_path / "tun")
    with pytest.raises(Refused, match=r"has no .*/tun") as caught:
        replace(network, places=Places(tmp_path, tmp_path)).ensure()
    assert caught.value.hint == "modprobe tun"


def test_ssh_into_a_guest() -> None:
    way = through_namespace("gv-1-default")
    argv = ssh_argv(way, IPv4Address("10.77.0.5"), key=Path("/s/key"), known_hosts=Path("/s/a b%"))
    assert argv == [
        *("nsenter", "--net=/run/netns/gv-1-default", "--", "ssh", "-F", "none"),
        *("-o", "IdentityFile=/s/key", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
        *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "LogLevel=ERROR"),
        *("-o", "StrictHostKeyChecking=yes", "-o", 'UserKnownHostsFile="/s/a b%%"'),
        *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no"),
        *("-l", "root", "--", "10.77.0.5"),
    ]


@pytest.mark.parametrize(
    ("command", "word"), [(("echo $HOME | wc",), "echo $HOME | wc"), (("echo", "a b", "$HOME"), "echo 'a b' '$HOME'")]
)
def test_ssh_with_a_command(command: tuple[str, ...], word: str) -> None:
    way = through_namespace("n")
    argv = ssh_argv(way, IPv4Address("10.77.0.5"), key=Path("/k"), known_hosts=Path("/h"), user="ada", command=command)
    assert argv[-5:] == ["-l", "ada", "--", "10.77.0.5", word]


def test_proxy_command() -> None:
    assert proxy_command("gv-1-x") == "nsenter --net=/run/netns/gv-1-x -- socat - TCP:%h:%p"


def test_tap_replaces_what_was_left_and_is_removed() -> None:
    assert add_tap("gv-1-x", "gv-a", "xenbr0") == (
        remove_tap("gv-1-x", "gv-a"),
        ("ip", "-netns", "gv-1-x", "tuntap", "add", "dev", "gv-a", "mode", "tap"),
        ("ip", "-netns", "gv-1-x", "link", "set", "dev", "gv-a", "master", "xenbr0", "up"),
    )
    assert remove_tap("gv-1-x", "gv-a")[-3:] == ("sh", "gv-1-x", "gv-a")


def test_forward() -> None:
    assert forward("gv-1-x", 8080, address=IPv4Address("10.77.0.5"), guest_port=80) == (
        "socat",
        "TCP-LISTEN:8080,bind=127.0.0.1,reuseaddr,fork",
        'EXEC:"nsenter --net=/run/netns/gv-1-x -- socat - TCP:10.77.0.5:80"',
    )


def test_dnsmasq_asks_nobody_and_offers_no_router(network: HostNetwork) -> None:
    argv = dnsmasq_argv(network, hosts=Path("/h"), names=Path("/n"))
    wanted = {"--interface=xenbr0", "--no-resolv", "--local=/#/", "--dhcp-option=option:router", "--addn-hosts=/n"}
    assert wanted | {"--dhcp-range=10.77.0.0,static,255.255.255.0,12h", "--dhcp-hostsfile=/h"} <= set(argv)


def test_leases_are_written_and_read() -> None:
    lease = Lease("00:16:3e:00:00:05", IPv4Address("10.77.0.5"), "vm5")
    assert render_hosts([lease]) == "00:16:3e:00:00:05,10.77.0.5,vm5\n"
    assert parse_hosts(render_hosts([lease])) == (lease,)
    assert render_names([lease]) == "10.77.0.5\tvm5\n"


@pytest.mark.parametrize(("mac", "name"), [("00:16:3E:00:00:05", "a"), ("*", "a"), ("00:16:3e:00:00:05", "a,b")])
def test_bad_leases(mac: str, name: str) -> None:
    with pytest.raises(Refused):
        Lease(mac, IPv4Address("10.77.0.5"), name)


def test_sockets_of_proc_net_tcp() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n"
    )
    assert parse_sockets(table) == [(IPv4Address("127.0.0.1"), 8080)]
