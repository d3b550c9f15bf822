"""The files of an identity that do not depend on the network's style."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.identity.files import identity_files
from gridvisor.identity.model import HostKey, Identity, IdentityEntry, IdentityFile, IdentityFolder, Interface
from gridvisor.identity.network.style import NetworkStyle

GOLDEN = Path(__file__).parent.parent / "golden" / "identity"

IDENTITY = Identity(
    hostname="ce01",
    machine_id="0123456789abcdef0123456789abcdef",
    dns_domain="grid.example",
    interfaces=(Interface("00:16:3e:00:00:01", "eth0", IPv4Interface("10.0.0.2/24"), IPv4Address("10.0.0.1")),),
    hosts=(
        (IPv4Address("10.0.0.2"), ("ce01.grid.example", "ce01", "ce")),
        (IPv4Address("10.0.0.3"), ("se01.grid.example", "se01")),
    ),
    nameservers=(IPv4Address("10.0.0.1"),),
    search=("grid.example",),
    host_keys=(HostKey("ed25519", b"PRIVATE PART\n", "ssh-ed25519 AAAA"),),
    authorized_keys=("ssh-ed25519 BBBB gridvisor", "ssh-ed25519 CCCC admin"),
)


def shown(entry: IdentityEntry) -> str:
    if isinstance(entry, IdentityFile):
        return f"=== {entry.path} {entry.mode:04o} {entry.uid}:{entry.gid}\n{entry.content.decode()}"
    if isinstance(entry, IdentityFolder):
        return f"=== {entry.path}/ {entry.mode:04o} {entry.uid}:{entry.gid}\n"
    return f"=== {entry.path} -> {entry.target}\n"


def content(identity: Identity, path: str) -> str:
    files = {entry.path: entry for entry in identity_files(identity, NetworkStyle.NETWORKD)}
    entry = files[path]
    assert isinstance(entry, IdentityFile)
    return entry.content.decode()


def paths(identity: Identity) -> set[str]:
    return {entry.path for entry in identity_files(identity, NetworkStyle.NETWORKD)}


def test_golden() -> None:
    text = "\n".join(shown(entry) for entry in identity_files(IDENTITY, NetworkStyle.NETWORKD))
    golden = GOLDEN / "whole.txt"
    if os.environ.get("GRIDVISOR_REGENERATE"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_own_name_is_at_the_real_address_once() -> None:
    lines = content(IDENTITY, "/etc/hosts").splitlines()
    assert "10.0.0.2 ce01.grid.example ce01 ce" in lines
    assert sum("ce01" in line for line in lines) == 1


def test_own_name_is_at_127_0_1_1_under_dhcp() -> None:
    dhcp = replace(IDENTITY, interfaces=(Interface("00:16:3e:00:00:01"),), hosts=())
    assert "127.0.1.1 ce01.grid.example ce01" in content(dhcp, "/etc/hosts").splitlines()


def test_under_dhcp_the_address_that_all_hosts_are_told_counts() -> None:
    dhcp = replace(IDENTITY, interfaces=(Interface("00:16:3e:00:00:01"),))
    lines = content(dhcp, "/etc/hosts").splitlines()
    assert "10.0.0.2 ce01.grid.example ce01 ce" in lines
    assert not [line for line in lines if line.startswith("127.0.1.1")]


def test_a_whole_host_name_is_not_given_its_domain_twice() -> None:
    whole = replace(IDENTITY, hostname="ce01.grid.example", hosts=())
    assert "10.0.0.2 ce01.grid.example ce01" in content(whole, "/etc/hosts").splitlines()


def test_resolver_is_left_to_dhcp_only_when_nothing_is_known() -> None:
    dhcp = replace(IDENTITY, interfaces=(Interface("00:16:3e:00:00:01"),), nameservers=())
    assert "/etc/resolv.conf" not in paths(dhcp)
    static = replace(IDENTITY, nameservers=(), search=())
    assert content(static, "/etc/resolv.conf") == ""  # and not the one that the image was built with


def test_sshd_shows_only_this_machines_key() -> None:
    assert content(IDENTITY, "/etc/ssh/sshd_config.d/00-gridvisor-host-keys.conf") == (
        "HostKey /etc/ssh/ssh_host_ed25519_key\n"
    )


def test_without_keys_ssh_is_left_alone() -> None:
    bare = replace(IDENTITY, host_keys=(), authorized_keys=())
    assert not [path for path in paths(bare) if "ssh" in path]


def test_private_parts_are_not_in_a_repr() -> None:
    assert "PRIVATE" not in repr(IDENTITY)
    assert "PRIVATE" not in repr(IDENTITY.host_keys)
    assert "PRIVATE" not in repr(identity_files(IDENTITY, NetworkStyle.NETWORKD))


@pytest.mark.parametrize("name", ["", "-a", "a..b", "a b", "a\n10.0.0.9 evil", "a\n", "x" * 65, "../a", "ä"])
def test_a_host_name_that_would_spoil_files_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        replace(IDENTITY, hostname=name)


def test_other_text_that_would_spoil_files_is_refused() -> None:
    with pytest.raises(Refused):
        replace(IDENTITY, dns_domain="grid.example\nnameserver 6.6.6.6")
    with pytest.raises(Refused):
        replace(IDENTITY, search=("a\nb",))
    with pytest.raises(Refused):
        replace(IDENTITY, hosts=((IPv4Address("10.0.0.3"), ("a\nb",)),))
    with pytest.raises(Refused):
        replace(IDENTITY, hosts=((IPv4Address("10.0.0.3"), ()),))
    with pytest.raises(Refused):
        replace(IDENTITY, authorized_keys=("ssh-ed25519 BBBB\nssh-ed25519 EVIL",))
    with pytest.raises(Refused):
        replace(IDENTITY, machine_id="uninitialized")
