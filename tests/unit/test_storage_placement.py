"""Machines are spread over disks; a machine's volumes are not."""

from __future__ import annotations

import pytest

from gridvisor.storage.placement import Spot, machine_of, spot_for

GIB = 1 << 30


def spots(**volumes: str) -> list[Spot]:
    return [Spot(name, 10 * GIB, tuple(there.split())) for name, there in volumes.items()]


@pytest.mark.parametrize(
    ("volume", "where"),
    [
        ("ce-swap", "sda"),
        ("wn1-data", "sdb"),
        ("se-disk", "sdb"),
        ("site.kiam.ce-disk", "sdb"),
    ],
)
def test_a_volume_goes_to_the_others_of_its_machine_else_to_the_fewest_machines(volume: str, where: str) -> None:
    there = spots(sda="ce-disk ce-data ui-disk ui-swap mon-disk", sdb="wn1-disk wn1-swap wn1-more wn1-most")
    assert spot_for(volume, GIB, there).name == where


def test_of_equals_the_one_with_the_most_room_and_then_by_name() -> None:
    even = [Spot("b", 5 * GIB, ()), Spot("c", 5 * GIB, ()), Spot("a", 4 * GIB, ())]
    assert spot_for("ce-disk", GIB, even).name == "b"


def test_what_does_not_fit_goes_elsewhere_but_never_away_from_its_machine() -> None:
    there = [Spot("small", GIB, ("ce-disk",)), Spot("large", 9 * GIB, ("ui-disk", "wn-disk"))]
    assert spot_for("se-disk", 2 * GIB, there).name == "large"
    assert spot_for("ce-data", 2 * GIB, there).name == "small", "the group says that it is full"
    assert spot_for("se-disk", 99 * GIB, there).name == "small", "the fewest machines, as ever"


def test_six_machines_on_two_disks_are_three_and_three() -> None:
    names: dict[str, list[str]] = {"sda": [], "sdb": []}
    for machine in ("ui", "ce", "wn1", "wn2", "se", "mon"):
        for volume in (f"{machine}-disk", f"{machine}-swap"):
            now = [Spot(disk, 10 * GIB - len(there) * GIB, tuple(there)) for disk, there in names.items()]
            names[spot_for(volume, GIB, now).name].append(volume)
    machines = {disk: {machine_of(volume) for volume in there} for disk, there in names.items()}
    assert [len(there) for there in machines.values()] == [3, 3]
    assert not machines["sda"] & machines["sdb"]
