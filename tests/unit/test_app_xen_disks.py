"""Which machines die with a disk, by what lsblk and xl say."""

from __future__ import annotations

import json

import pytest

from gridvisor.app.xen_disks import parse_long, uses
from gridvisor.core.errors import ToolOutput
from gridvisor.storage.disks import name_of, parse_lsblk

GIB = 1 << 30


def device(name: str, kind: str = "lvm", mounted: str | None = None, *children: object) -> dict[str, object]:
    told: dict[str, object] = {"name": name, "type": kind, "size": GIB, "model": None, "mountpoint": mounted}
    return told | ({"children": list(children)} if children else {})


def lsblk(*devices: dict[str, object]) -> str:
    return json.dumps({"blockdevices": list(devices)})


def domain(name: str, *paths: str) -> dict[str, object]:
    return {"domid": 1, "config": {"c_info": {"name": name}, "disks": [{"pdev_path": path} for path in paths]}}


# Two disks: dom0's with a guest beside it, and one whose thin pool holds two guests' volumes.
DISKS = parse_lsblk(
    lsblk(
        device("sda", "disk", None, device("sda1", "part", "/"), device("sda2", "part", None, device("vg1-ui--disk"))),
        device("sdb", "disk", None, device("vg0-thin_tdata", "lvm", None, device("vg0-se"), device("vg0-mon"))),
        device("sdc", "disk"),
        device("sr0", "rom"),
    )
)


def test_each_disk_takes_those_with_a_volume_on_it_and_dom0_with_its_root() -> None:
    volumes = {"se": ("/dev/vg0/se", "/etc/identity"), "mon": ("/dev/mapper/vg0-mon",), "ui": ("/dev/vg1/ui-disk",)}
    found = uses(DISKS, volumes)
    assert [(use.disk.name, use.domains, use.shared) for use in found] == [
        ("sda", ("Domain-0", "ui"), True),
        ("sdb", ("mon", "se"), False),
        ("sdc", (), False),
    ]


def test_a_volume_that_lies_on_two_disks_dies_with_either() -> None:
    both = [device(name, "disk", None, device("vg0-se")) for name in ("sda", "sdb")]
    assert [use.domains for use in uses(parse_lsblk(lsblk(*both)), {"se": ("/dev/vg0/se",)})] == [("se",), ("se",)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/dev/sda2", "sda2"),
        ("/dev/vg0/se", "vg0-se"),
        ("/dev/vg-0/site.kiam-test.se", "vg--0-site.kiam--test.se"),
        ("/dev/mapper/vg0-se", "vg0-se"),
    ],
)
def test_a_path_is_known_by_the_kernels_name(path: str, name: str) -> None:
    assert name_of(path) == name


def test_dom0_has_no_disks_in_the_list_of_xl() -> None:
    said = json.dumps([{"domid": 0, "config": {"c_info": {"name": "Domain-0"}}}, domain("se", "/dev/vg0/se")])
    assert parse_long(said) == {"se": ("/dev/vg0/se",)}


@pytest.mark.parametrize("said", ["", "{", '[{"domid": 0}]', '{"blockdevices": [{"type": "disk"}]}'])
def test_what_is_not_understood_is_said(said: str) -> None:
    with pytest.raises(ToolOutput, match="lsblk"):
        parse_lsblk(said)
    with pytest.raises(ToolOutput, match="xl list"):
        parse_long(said)
