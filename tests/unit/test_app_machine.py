"""Machines keep what is their own: folder, address and MACs, whatever their domain is called."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridvisor.app.machine import Machines
from gridvisor.core.errors import Refused
from gridvisor.core.places import Places
from gridvisor.domain.model import Domain, Vif

SUBNET = IPv4Network("10.77.0.0/24")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def machines(places: Places) -> Machines:
    return Machines(places)


def domain(name: str, *macs: str | None, ip: str | None = None) -> Domain:
    return Domain(name, vifs=tuple(Vif(mac=mac) for mac in macs or (None,)), ip=ip)


def test_a_machine_is_the_same_when_it_is_settled_again(machines: Machines, places: Places) -> None:
    first = machines.settle(domain("vm1", None, None), SUBNET)
    assert first.address in SUBNET
    assert len(set(first.macs)) == 2
    assert machines.settle(domain("vm1", None, None), SUBNET) == first
    assert Machines(places).find("vm1") == first


def test_its_folder_is_for_its_owner_alone(machines: Machines) -> None:
    assert machines.settle(domain("vm1"), SUBNET).folder.stat().st_mode & 0o777 == 0o700


def test_what_the_configuration_gives_is_taken_and_then_kept(machines: Machines) -> None:
    given = machines.settle(domain("vm1", "00:16:3e:00:00:01", ip="10.77.0.9"), SUBNET)
    assert (given.address, given.macs) == (IPv4Address("10.77.0.9"), ("00:16:3e:00:00:01",))
    assert machines.settle(domain("vm1"), SUBNET) == given


def test_a_new_interface_gets_a_mac_and_the_old_one_keeps_its_own(machines: Machines) -> None:
    (first,) = machines.settle(domain("vm1"), SUBNET).macs
    both = machines.settle(domain("vm1", None, None), SUBNET).macs
    assert both[0] == first
    assert both[1] != first


def test_an_address_of_the_vif_counts(machines: Machines) -> None:
    one = Domain("vm1", vifs=(Vif(ip="10.77.0.8/24 10.77.0.7"),))
    assert machines.settle(one, SUBNET).address == IPv4Address("10.77.0.8")


def test_an_address_from_another_subnet_is_not_kept(machines: Machines) -> None:
    machines.settle(domain("vm1"), SUBNET)
    other = IPv4Network("10.99.0.0/24")
    assert machines.settle(domain("vm1"), other).address in other


def test_nobody_gets_what_another_machine_has(machines: Machines) -> None:
    machines.settle(domain("vm1", "00:16:3e:00:00:01", ip="10.77.0.9"), SUBNET)
    with pytest.raises(Refused, match=r"00:16:3e:00:00:01 belongs to the machine 'vm1'"):
        machines.settle(domain("vm2", "00:16:3e:00:00:01"), SUBNET)
    with pytest.raises(Refused, match=r"10\.77\.0\.9 belongs to the machine 'vm1'"):
        machines.settle(domain("vm2", ip="10.77.0.9"), SUBNET)
    assert machines.find("vm2") is None


@pytest.mark.parametrize("ip", ["10.77.0.0", "10.77.0.1", "10.77.0.255", "192.0.2.1"])
def test_an_address_that_is_not_for_guests_is_refused(machines: Machines, ip: str) -> None:
    with pytest.raises(Refused, match="is not one for guests"):
        machines.settle(domain("vm1", ip=ip), SUBNET)


def test_a_renamed_machine_keeps_all_and_its_old_name_is_free(machines: Machines) -> None:
    before = machines.settle(domain("vm1"), SUBNET)
    machines.rename("vm1", "web")
    after = machines.find("web")
    assert after is not None
    assert (after.folder, after.address, after.macs) == (before.folder, before.address, before.macs)
    assert machines.find("vm1") is None
    new = machines.settle(domain("vm1"), SUBNET)
    assert new.folder != before.folder
    assert new.address != before.address
    assert not set(new.macs) & set(before.macs)


def test_a_rename_takes_the_place_of_what_an_earlier_machine_left(machines: Machines) -> None:
    left, kept = machines.settle(domain("old"), SUBNET), machines.settle(domain("vm1"), SUBNET)
    machines.rename("vm1", "old")
    found = machines.find("old")
    assert found is not None
    assert found.folder == kept.folder
    assert not left.folder.exists()


def test_a_machine_that_never_was_is_renamed_and_forgotten_quietly(machines: Machines) -> None:
    machines.rename("nobody", "somebody")
    machines.forget("nobody")
    assert machines.find("somebody") is None


def test_a_forgotten_machine_leaves_its_claims(machines: Machines) -> None:
    before = machines.settle(domain("vm1", "00:16:3e:00:00:01", ip="10.77.0.9"), SUBNET)
    machines.forget("vm1")
    assert not before.folder.exists()
    after = machines.settle(domain("vm2", "00:16:3e:00:00:01", ip="10.77.0.9"), SUBNET)
    assert (after.address, after.macs) == (before.address, before.macs)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=30))
def test_no_two_machines_share_anything(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("machines")
    machines = Machines(Places(folder / "cache", folder / "state"))
    settled = {f"vm{n}": machines.settle(domain(f"vm{n}", *[None] * cards), SUBNET) for n, cards in wishes}
    macs = [mac for machine in settled.values() for mac in machine.macs]
    assert len(set(macs)) == len(macs)
    assert len({machine.address for machine in settled.values()}) == len(settled)
    assert len({machine.folder for machine in settled.values()}) == len(settled)


SETTLE = """
import sys
from ipaddress import IPv4Network
from pathlib import Path
from gridvisor.app.machine import Machines
from gridvisor.core.places import Places
from gridvisor.domain.model import Domain, Vif
machines = Machines(Places(Path(sys.argv[1]) / "cache", Path(sys.argv[1]) / "state"))
for number in range(8):
    machines.settle(Domain(f"{sys.argv[2]}{number}", vifs=(Vif(),)), IPv4Network("10.77.0.0/24"))
"""


def test_processes_that_settle_at_once_give_nothing_twice(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", SETTLE, str(tmp_path), name]) for name in "abc"]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    machines = Machines(Places(tmp_path / "cache", tmp_path / "state"))
    found = [machines.find(f"{name}{number}") for name in "abc" for number in range(8)]
    assert len({machine.address for machine in found if machine}) == 24
