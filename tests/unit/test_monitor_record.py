"""A guest that was noted comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridvisor.domain.model import Disk, Domain, OnEnd, Vif
from gridvisor.monitor.protocol import Attachment, Guest, Nic, VolumeUse
from gridvisor.monitor.record import guest_of, record_of

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


def test_a_record_is_plain_json_with_a_domain_that_xl_can_read() -> None:
    record = record_of(MOST)
    assert set(record) == set(Guest.__slots__)
    assert 'name = "vm1.site"' in record["domain"]
