"""A guest that was noted comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridvisor.core.places import Places
from gridvisor.domain.model import Disk, Domain, OnEnd, Vif
from gridvisor.monitor.fake import FakeMonitor
from gridvisor.monitor.protocol import Attachment, Guest, Nic, State, VolumeUse
from gridvisor.monitor.record import guest_of, record_of
from gridvisor.monitor.uml.keeper import boot_id
from gridvisor.monitor.uml.monitor import UmlMonitor

LEAST = Guest(Domain("vm1"), ())
MOST = Guest(
    Domain(
        "vm1.site",
        memory_mib=512,
        maxmem_mib=1024,
        vcpus=2,
        root="/dev/xvda1 ro",
        extra='quiet "a b"',
        disks=(Disk("/dev/vg0/vm1-disk", "xvda1"), Disk("/srv/my disk.img", "xvdb", writable=False)),
        vifs=(Vif("00:16:3e:00:00:01", bridge="xenbr0"), Vif()),
        dhcp=True,
        hostname="vm1",
        on_crash=OnEnd.PRESERVE,
        other={"vfb": ["type=vnc", 1], "note": "it's kept"},
    ),
    (
        Attachment(VolumeUse.ROOT, Path("/state/a b/disk"), True, Path("/cache/root.img")),
        Attachment(VolumeUse.IDENTITY, Path("/state/identity.tar"), False),
    ),
    (Nic("00:16:3e:00:00:01", "gv1"), Nic("00:16:3e:00:00:02", "gv2")),
    namespace="gv-abc123-default",
    address="10.77.0.9",
    identity_id="ab" * 32,
    before=(("ip", "link", "add"), ("true",)),
    companions=(("socat", "a b"),),
    after=(("ip", "link", "del"),),
)


@pytest.mark.parametrize("guest", [LEAST, MOST], ids=["least", "most"])
def test_what_was_noted_comes_back(guest: Guest) -> None:
    assert guest_of(json.loads(json.dumps(record_of(guest)))) == guest


@pytest.mark.parametrize("field", Guest.__slots__)
def test_nothing_of_a_guest_is_forgotten(field: str) -> None:
    """A field that is added to Guest and not to its record shows up here."""
    assert getattr(MOST, field) != getattr(LEAST, field)
    assert getattr(guest_of(record_of(MOST)), field) == getattr(MOST, field)


def test_a_domain_is_listed_with_the_namespace_of_its_guest(tmp_path: Path) -> None:
    folder = tmp_path / "domains" / "vm1"
    folder.mkdir(parents=True)
    launch = {"id": 1, "memory_mib": 512, "guest": record_of(MOST)}
    (folder / "launch.json").write_text(json.dumps(launch))
    (folder / "state.json").write_text(json.dumps({"status": "running", "since_s": 1.0, "boot_id": boot_id()}))
    [row] = UmlMonitor(Places(tmp_path, tmp_path), pack=pytest.fail).list()
    assert (row.namespace, row.state) == ("gv-abc123-default", State.CRASHED)
    row = FakeMonitor(tmp_path).create(MOST)
    assert row.namespace == "gv-abc123-default"


def test_a_record_is_plain_json_with_a_domain_that_xl_can_read() -> None:
    record = record_of(MOST)
    assert set(record) == set(Guest.__slots__)
    assert 'name = "vm1.site"' in record["domain"]
