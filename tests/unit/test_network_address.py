"""MACs, addresses and tap names: stable, unique, valid."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridvisor.core.errors import Refused
from gridvisor.network.address import address_for, gateway_of, mac_for, parse_mac, tap_name

SEEDS = st.text(max_size=40)
SUBNETS = st.builds(
    lambda number, prefix: IPv4Network((number, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(16, 30),
)


class Everything:
    """A container in which all is."""

    def __contains__(self, _: object) -> bool:
        return True


def test_ten_thousand_macs_differ_though_their_first_choices_do_not() -> None:
    seeds = [f"a1b2c3/vm{number}/0" for number in range(10_000)]
    assert len({mac_for(seed) for seed in seeds}) < len(seeds)
    taken: set[str] = set()
    for seed in seeds:
        taken.add(mac_for(seed, taken))
    assert len(taken) == len(seeds)


@given(SEEDS)
def test_a_mac_is_stable_valid_and_xens(seed: str) -> None:
    mac = mac_for(seed)
    assert mac == mac_for(seed) == parse_mac(mac)
    assert mac.startswith("00:16:3e:")


@given(SEEDS)
def test_a_taken_mac_gives_way_the_same_way_each_time(seed: str) -> None:
    first = mac_for(seed)
    second = mac_for(seed, {first})
    assert second != first
    assert second == mac_for(seed, {first})


def test_a_mac_does_not_change_between_versions() -> None:
    assert mac_for("a1b2c3/vm1/0") == "00:16:3e:76:49:95"


def test_macs_that_run_out_are_told() -> None:
    with pytest.raises(Refused, match="'vm1'"):
        mac_for("vm1", Everything())


def test_a_mac_is_read_in_either_case() -> None:
    assert parse_mac("00:16:3E:5e:6C:00") == "00:16:3e:5e:6c:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00:16:3e:00:00",
        "00:16:3e:00:00:00:00",
        "00-16-3e-00-00-01",
        "0g:16:3e:00:00:01",
        "01:16:3e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "00:16:3e:00:00:0\n1",
    ],
)
def test_what_is_no_interfaces_mac_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_mac(text)


@given(SEEDS, SUBNETS)
def test_an_address_is_stable_and_a_guests(seed: str, subnet: IPv4Network) -> None:
    address = address_for(seed, subnet)
    assert address == address_for(seed, subnet)
    assert address in subnet
    assert address not in {subnet.network_address, gateway_of(subnet), subnet.broadcast_address}


@given(SEEDS, st.integers(26, 30))
def test_a_subnet_is_filled_to_the_last_address_and_then_refused(seed: str, prefix: int) -> None:
    subnet = IPv4Network(f"10.1.2.0/{prefix}")
    taken: set[IPv4Address] = set()
    count = subnet.num_addresses - 3
    for number in range(count):
        taken.add(address_for(f"{seed}{number}", subnet, taken))
    assert len(taken) == count
    with pytest.raises(Refused, match=rf"leave {count} for guests, and all are taken"):
        address_for("one more", subnet, taken)


@pytest.mark.parametrize("prefix", [31, 32])
def test_a_subnet_without_room_is_refused(prefix: int) -> None:
    with pytest.raises(Refused, match="leave 0 for guests"):
        address_for("vm1", IPv4Network(f"10.0.0.0/{prefix}"))


@given(st.from_regex(r"\A[0-9a-f]{6}\Z"), SEEDS, st.integers(0, 99))
def test_a_tap_name_fits_the_kernel_and_shows_whose_it_is(tag: str, domain: str, index: int) -> None:
    name = tap_name(tag, domain, index)
    assert name == tap_name(tag, domain, index)
    assert len(name) <= 15
    assert name.startswith(f"gv{tag}")
    assert name.isascii()
    assert name.isalnum()
    assert tap_name(tag, domain, index, taken={name}) != name


def test_ten_thousand_tap_names_differ() -> None:
    names = {tap_name("a1b2c3", f"vm{number}", index) for number in range(5000) for index in range(2)}
    assert len(names) == 10_000


def test_long_domains_that_begin_alike_get_different_taps() -> None:
    long = "worker-node-of-the-very-long-site-name"
    assert tap_name("a1b2c3", f"{long}-1", 0) != tap_name("a1b2c3", f"{long}-2", 0)
