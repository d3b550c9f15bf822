"""What is on a disk that was named for guests decides whether it is taken."""

from __future__ import annotations

import json

import pytest

from gridvisor.app.prepare.disk import (
    Named,
    PhysicalVolume,
    looks_empty,
    parse_lsblk,
    parse_pvs,
    parse_wipefs,
    what_is_on,
)
from gridvisor.core.errors import ToolOutput

GIB = 1 << 30
SPARE = "[lvol0_pmspare]"


def device(path: str, kind: str = "disk", **facts: object) -> dict[str, object]:
    told: dict[str, object] = {"path": path, "type": kind, "size": 12 * GIB, "model": None, "ro": False}
    return told | {"mountpoint": None, "fstype": None, "pttype": None} | facts


def on(named: Named, *volumes: PhysicalVolume, **facts: object) -> str | None:
    devices = parse_lsblk(json.dumps({"blockdevices": [device("/dev/sdb", **facts)]}))
    return what_is_on(named, devices, volumes, group="vg0")


def named(*signatures: str, path: str = "/dev/sdb") -> Named:
    return Named("/dev/disk/by-id/wwn-1", path, signatures)


def test_an_empty_disk_is_taken() -> None:
    assert on(named()) is None


@pytest.mark.parametrize(
    ("signatures", "facts", "words"),
    [
        (("dos",), {}, ["partition table (dos)"]),
        ((), {"pttype": "gpt"}, ["partition table (gpt)"]),
        (("gpt", "gpt", "PMBR"), {"pttype": "gpt"}, ["partition table (gpt)", "partition table (PMBR)"]),
        (("ext4",), {}, ["signature of 'ext4'"]),
        (("crypto_LUKS",), {"fstype": "crypto_LUKS"}, ["signature of 'crypto_LUKS'"]),
        (("swap",), {"fstype": "swap", "mountpoint": "[SWAP]"}, ["mounted at [SWAP]", "signature of 'swap'"]),
        (("linux_raid_member",), {}, ["signature of 'linux_raid_member'"]),
        (("LVM2_member",), {}, ["physical volume of LVM"]),
        ((), {"mountpoint": "/srv"}, ["is mounted at /srv"]),
        ((), {"mountpoint": "/"}, ["disk of the system itself"]),
        ((), {"ro": True}, ["cannot be written to"]),
        ((), {"size": 2 * GIB}, ["2 GiB", "3 GiB"]),
        ((), {"children": [device("/dev/mapper/crypt", "crypt")]}, ["part of /dev/mapper/crypt"]),
        (
            ("dos",),
            {
                "children": [
                    device("/dev/sdb1", "part", mountpoint="/"),
                    device("/dev/sdb2", "part", mountpoint="/home"),
                ]
            },
            ["the system itself", "/dev/sdb1 is mounted at /", "/dev/sdb2 is mounted at /home", "table (dos)"],
        ),
        (
            ("gpt",),
            {"children": [device("/dev/sdb1", "part", children=[device("/dev/mapper/a-root", "lvm", mountpoint="/")])]},
            ["the system itself"],
        ),
    ],
)
def test_one_with_anything_on_it_is_left_alone(
    signatures: tuple[str, ...], facts: dict[str, object], words: list[str]
) -> None:
    said = on(named(*signatures), **facts)
    assert said is not None
    assert [word for word in words if word not in said] == []


def test_what_is_no_disk_is_refused() -> None:
    assert on(named(path="")) == "is no block device there"
    assert "kind 'part'" in (on(named(path="/dev/sdb1"), children=[device("/dev/sdb1", "part")]) or "")


def test_physical_volumes_are_taken_when_they_are_ours_or_nobodys() -> None:
    member = named("LVM2_member")
    assert on(member, PhysicalVolume("/dev/sdb", "vg0", ())) is None
    assert on(member, PhysicalVolume("/dev/sdb", "", ())) is None
    assert "group 'data'" in (on(member, PhysicalVolume("/dev/sdb", "data", ())) or "")
    assert "mounted at /srv" in (on(member, PhysicalVolume("/dev/sdb", "", ()), mountpoint="/srv") or "")


def test_a_disk_is_proposed_when_nothing_is_known_to_be_on_it() -> None:
    told = {
        "empty": {},
        "small": {"size": GIB},
        "mounted": {"mountpoint": "/"},
        "with a table": {"pttype": "dos"},
        "in use": {"children": [device("/dev/sdb1", "part")]},
    }
    found = parse_lsblk(json.dumps({"blockdevices": [device(name, **facts) for name, facts in told.items()]}))
    rom = parse_lsblk(json.dumps({"blockdevices": [device("/dev/sr0", "rom")]}))
    assert [one.path for one in (*found, *rom) if looks_empty(one)] == ["empty"]


def test_of_a_physical_volume_it_is_known_whether_a_pool_is_on_it() -> None:
    rows = [
        {"pv_name": "/dev/sdb", "vg_name": "vg0", "lv_name": name}
        for name in ("", SPARE, "[thin_tdata]", "[thin_tmeta]", "[thin_tdata]")
    ]
    rows += [{"pv_name": "/dev/sdc", "vg_name": "vg0", "lv_name": SPARE}]
    rows += [{"pv_name": "/dev/sdd", "vg_name": "", "lv_name": ""}]
    sdb, sdc, sdd = parse_pvs(json.dumps({"report": [{"pvseg": rows}]}))
    assert (sdb.volumes, sdb.is_empty) == ((SPARE, "[thin_tdata]", "[thin_tmeta]"), False)
    assert (sdc.group, sdc.is_empty) == ("vg0", True)
    assert (sdd.group, sdd.is_empty) == ("", True)


def test_where_a_tool_is_not_installed_it_says_nothing() -> None:
    assert (parse_pvs(""), parse_wipefs("")) == ((), ())


@pytest.mark.parametrize("parse", [parse_lsblk, parse_pvs, parse_wipefs])
def test_nonsense_is_told(parse: object) -> None:
    with pytest.raises(ToolOutput):
        parse('{"report": 1}')  # type: ignore[operator]
