"""Each writer against golden files; GRIDVISOR_REGENERATE=1 writes them anew, to be read in the diff."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.identity.model import Identity, IdentityFile, Interface
from gridvisor.identity.network.files import network_files
from gridvisor.identity.network.style import NetworkStyle

GOLDEN = Path(__file__).parent.parent / "golden" / "identity"

STATIC = Interface("00:16:3e:00:00:01", "eth0", IPv4Interface("192.168.1.10/24"))
ROUTED = replace(STATIC, gateway=IPv4Address("192.168.1.1"))
DHCP = Interface("00:16:3e:00:00:01", "eth0")
SECOND = Interface("00:16:3e:00:00:02", "eth1", IPv4Interface("10.8.0.2/16"))
BARE = Identity("ce01", "0123456789abcdef0123456789abcdef", dns_domain="grid.example")
DNS = replace(
    BARE,
    nameservers=(IPv4Address("192.168.1.1"), IPv4Address("192.168.1.2")),
    search=("grid.example", "example"),
)

CASES = {
    "static": replace(BARE, interfaces=(STATIC,)),
    "gateway": replace(BARE, interfaces=(ROUTED,)),
    "dhcp": replace(BARE, interfaces=(DHCP,)),
    "two": replace(BARE, interfaces=(ROUTED, SECOND)),
    "dns": replace(DNS, interfaces=(ROUTED, SECOND)),
    "dhcp-dns": replace(DNS, interfaces=(DHCP, SECOND)),
}


def shown(files: tuple[IdentityFile, ...]) -> str:
    """Files as one text to compare."""
    return "\n".join(f"=== {file.path} {file.mode:04o}\n{file.content.decode()}" for file in files)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("style", NetworkStyle)
def test_golden(style: NetworkStyle, case: str) -> None:
    text = shown(network_files(style, CASES[case]))
    golden = GOLDEN / f"{style}-{case}.txt"
    if os.environ.get("GRIDVISOR_REGENERATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("style", NetworkStyle)
def test_every_interface_is_named_by_its_mac(style: NetworkStyle) -> None:
    files = network_files(style, CASES["two"])
    renaming = "".join(f.content.decode() for f in files if f.path.endswith((".link", ".rules")))
    for interface in CASES["two"].interfaces:
        assert interface.mac in renaming
        assert interface.name in renaming


def test_networkmanager_keyfiles_are_for_root_only() -> None:
    files = network_files(NetworkStyle.NETWORKMANAGER, CASES["two"])
    assert {file.mode for file in files if file.path.endswith(".nmconnection")} == {0o600}


def test_networkmanager_uuids_differ_between_clones_and_stay() -> None:
    def keyfile(machine_id: str) -> bytes:
        clone = replace(CASES["static"], machine_id=machine_id)
        return network_files(NetworkStyle.NETWORKMANAGER, clone)[-1].content

    assert keyfile("0" * 32) == keyfile("0" * 32)
    assert keyfile("0" * 32) != keyfile("1" * 32)


@pytest.mark.parametrize(
    ("mac", "name", "address", "gateway"),
    [
        ("00:16:3E:00:00:01", "eth0", None, None),
        ("00:16:3e:00:00:01\n", "eth0", None, None),
        ("00:16:3e:00:00:01", "eth0\nauto evil", None, None),
        ("00:16:3e:00:00:01", "../eth0", None, None),
        ("00:16:3e:00:00:01", "a-very-long-name", None, None),
        ("00:16:3e:00:00:01", "eth0", None, IPv4Address("10.0.0.1")),
        ("00:16:3e:00:00:01", "eth0", IPv4Interface("10.0.0.2/24"), IPv4Address("10.0.1.1")),
    ],
)
def test_an_impossible_interface_is_refused(
    mac: str, name: str, address: IPv4Interface | None, gateway: IPv4Address | None
) -> None:
    with pytest.raises(Refused):
        Interface(mac, name, address, gateway)


def test_two_interfaces_cannot_share_a_mac_or_a_name() -> None:
    with pytest.raises(Refused, match="the MAC '00:16:3e:00:00:01'"):
        replace(BARE, interfaces=(STATIC, replace(SECOND, mac=STATIC.mac)))
    with pytest.raises(Refused, match="the name 'eth0'"):
        replace(BARE, interfaces=(STATIC, replace(SECOND, name="eth0")))
