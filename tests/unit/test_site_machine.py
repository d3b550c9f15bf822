"""The machines of a site: as many as the file says, and none of them changed by one more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridvisor.core.errors import Refused
from gridvisor.network.address import gateway_of, mac_for
from gridvisor.site.check import SHIPPED
from gridvisor.site.machine import Addresses, Machine, expand, names_of, role_of
from gridvisor.site.model import MachineSpec, Site
from gridvisor.site.role import Role, find_roles

ROLES = find_roles((SHIPPED,))
COUNTS = st.dictionaries(st.sampled_from(["ui", "wn", "se", "mon"]), st.integers(0, 15), min_size=1)


def site(machines: Mapping[str, object], **others: object) -> Site:
    """A site, from what its file says."""
    return Site.model_validate({"site": "a", "machines": machines, **others})


def farm(count: int) -> dict[str, Machine]:
    """The machines of a site with so many worker nodes, by name."""
    wanted = site({"ui": {}, "ce": {}, "wn": {"count": count}, "se": {}, "mon": {}})
    return {machine.name: machine for machine in expand(wanted, ROLES)}


def test_names_are_numbered_only_where_a_count_is_given() -> None:
    assert names_of("wn", MachineSpec()) == ("wn",)
    assert names_of("wn", MachineSpec(count=0)) == ()
    assert names_of("wn", MachineSpec(count=1)) == ("wn1",)
    assert names_of("wn", MachineSpec(count=3)) == ("wn1", "wn2", "wn3")


def test_an_entry_is_called_by_its_role_or_names_it() -> None:
    assert role_of("ce", MachineSpec()) == "ce"
    assert role_of("front", MachineSpec(role="ui")) == "ui"


def test_machines_are_in_the_order_of_the_file() -> None:
    assert list(farm(2)) == ["ui", "ce", "wn1", "wn2", "se", "mon"]
    assert [machine.fqdn for machine in farm(1).values()][:2] == ["ui.grid.test", "ce.grid.test"]


def test_the_same_site_gives_the_same_machines() -> None:
    assert farm(3) == farm(3)


def test_one_more_worker_node_changes_no_other_machine() -> None:
    few, more = farm(2), farm(3)
    assert few == {name: machine for name, machine in more.items() if name != "wn3"}
    assert more["wn3"].interfaces[0].address not in {m.interfaces[0].address for m in few.values()}


def test_another_name_of_the_site_gives_other_macs() -> None:
    [one] = expand(site({"ui": {}}), ROLES)
    [other] = expand(site({"ui": {}}, site="b"), ROLES)
    assert one.interfaces[0].mac != other.interfaces[0].mac


def test_the_farm_goes_out_through_the_computing_element() -> None:
    machines = farm(2)
    [in_site, in_farm] = machines["ce"].interfaces
    assert [card.network for card in (in_site, in_farm)] == ["site", "farm"]
    for name in ("wn1", "wn2"):
        [card] = machines[name].interfaces
        assert (card.network, card.gateway) == ("farm", in_farm.address)
    for name in ("ui", "ce", "se", "mon"):
        assert {card.gateway for card in machines[name].interfaces} == {None}, "the host's own end leads out"


def test_without_a_computing_element_nobody_leads_the_farm_out() -> None:
    [wn] = expand(site({"wn": {}}), ROLES)
    assert wn.interfaces[0].gateway is None


def test_an_address_that_the_file_gives_away_is_nobody_elses() -> None:
    [chosen] = expand(site({"ui": {}}), ROLES)
    address = chosen.interfaces[0].address
    for order in (["ui", "se"], ["se", "ui"]):
        specs = {"ui": {}, "se": {"address": str(address)}}
        machines = {m.name: m for m in expand(site({name: specs[name] for name in order}), ROLES)}
        assert machines["se"].interfaces[0].address == address
        assert machines["ui"].interfaces[0].address != address


def test_the_first_card_alone_has_the_address_of_the_file() -> None:
    [ce] = expand(site({"ce": {"address": "10.20.0.7"}}), ROLES)
    assert ce.interfaces[0].address == IPv4Address("10.20.0.7")
    assert ce.interfaces[1].address in IPv4Network("10.20.1.0/24")


def test_memory_and_volumes_are_the_roles_unless_the_file_says_otherwise() -> None:
    [usual] = expand(site({"se": {}}), ROLES)
    [large] = expand(site({"se": {"memory": "1GiB", "volumes": {"data": "8GiB"}}}), ROLES)
    assert (usual.memory_mib, usual.volumes) == (ROLES["se"].memory_mib, ROLES["se"].volumes)
    assert (large.memory_mib, large.volumes["data"].size_mib) == (1024, 8192)
    assert large.volumes["data"].mount == usual.volumes["data"].mount
    assert ROLES["se"].volumes["data"].size_mib == 2048, "the role itself is as it was"


def test_published_ports_are_those_of_the_named_machine() -> None:
    one, other = expand(site({"mon": {"count": 2}}, publish={"mon2": [9090]}), ROLES)
    assert (one.publish, other.publish) == ({}, {9090: 9090})


def kept(machines: Iterable[Machine]) -> Addresses:
    """Their addresses, as they are kept."""
    return {machine.name: {card.network: card.address for card in machine.interfaces} for machine in machines}


def test_who_has_an_address_keeps_it_when_another_would_get_it() -> None:
    few, more = (
        site({"ui": {"count": count}, "ce": {}, "wn": {"count": 2}, "se": {}, "mon": {}}, site="kiam-test")
        for count in (4, 5)
    )
    before = expand(few, ROLES)
    anew = {machine.name: machine for machine in expand(more, ROLES)}
    [se] = [machine for machine in before if machine.name == "se"]
    assert anew["ui5"].interfaces[0].address == se.interfaces[0].address, "else this test shows nothing"
    after = {machine.name: machine for machine in expand(more, ROLES, kept(before))}
    assert [after[machine.name] for machine in before] == list(before)
    assert len({card.address for machine in after.values() for card in machine.interfaces}) == 11


@given(few=COUNTS, more=COUNTS)
def test_nobody_that_stays_is_moved(few: dict[str, int], more: dict[str, int]) -> None:
    networks = {"site": "10.0.0.0/26", "farm": "10.0.1.0/26"}
    old, new = (
        site({role: {"count": count} for role, count in counts.items()}, networks=networks) for counts in (few, more)
    )
    had = kept(expand(old, ROLES))
    after = expand(new, ROLES, had)
    for machine in after:
        if machine.name in had:
            assert {card.network: card.address for card in machine.interfaces} == had[machine.name]
    assert len({card.address for machine in after for card in machine.interfaces}) == len(after)


@pytest.mark.parametrize("had", ["10.20.0.0", "10.20.0.1", "10.20.0.255", "10.20.1.7", "10.20.0.7"])
def test_an_address_that_cannot_be_kept_is_not(had: str) -> None:
    wanted = site({"ui": {}, "se": {"address": "10.20.0.7"}})
    [ui, se] = expand(wanted, ROLES, {"ui": {"site": IPv4Address(had)}, "se": {"site": IPv4Address("10.20.0.9")}})
    assert ui == expand(wanted, ROLES)[0]
    assert se.interfaces[0].address == IPv4Address("10.20.0.7")


def test_of_two_that_kept_one_address_the_first_has_it() -> None:
    had = {"site": IPv4Address("10.20.0.9")}
    [ui, se] = expand(site({"ui": {}, "se": {}}), ROLES, {"ui": had, "se": had})
    assert (ui.interfaces[0].address == had["site"], se.interfaces[0].address == had["site"]) == (True, False)


def test_a_full_network_is_refused() -> None:
    with pytest.raises(Refused, match="No address is free"):
        expand(site({"ui": {"count": 6}}, networks={"site": "10.0.0.0/29"}), ROLES)


def test_macs_differ_where_chance_has_two_alike() -> None:
    machines = expand(site({"ui": {"count": 2643}}, site="b", networks={"site": "10.0.0.0/16"}), ROLES)
    assert mac_for("b/ui29/0") == mac_for("b/ui2643/0")
    assert len({machine.interfaces[0].mac for machine in machines}) == 2643


@given(
    counts=COUNTS,
    prefix=st.sampled_from([24, 26]),
    name=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
)
def test_addresses_and_macs_are_one_machines_each(counts: dict[str, int], prefix: int, name: str) -> None:
    networks = {"site": f"10.0.0.0/{prefix}", "farm": f"10.0.1.0/{prefix}"}
    entries = {"ce": {}} | {role: {"count": count} for role, count in counts.items()}
    wanted = site(entries, site=name, networks=networks)
    machines = expand(wanted, roles_of(wanted))
    cards = [card for machine in machines for card in machine.interfaces]
    assert len(machines) == 1 + sum(counts.values())
    assert len({card.mac for card in cards}) == len({card.address for card in cards}) == len(cards)
    for card in cards:
        network = wanted.networks[card.network]
        assert card.address in network
        assert card.address not in (network.network_address, gateway_of(network), network.broadcast_address)


def roles_of(wanted: Site) -> dict[str, Role]:
    """No more roles than the site names: `expand` must do with those."""
    return {role_of(name, spec): ROLES[role_of(name, spec)] for name, spec in wanted.machines.items()}
