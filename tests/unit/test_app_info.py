"""What `domain info` tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridvisor.app.host import Host
from gridvisor.app.info import domain_facts, host_facts
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.domain.model import Domain, OnEnd
from gridvisor.monitor.fake import FakeMonitor
from gridvisor.monitor.protocol import Attachment, Guest, Nic, NoSuchDomain, VolumeUse


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(Places(tmp_path / "cache", tmp_path / "state"), Bus())
    host.monitor = FakeMonitor(tmp_path)
    return host


def guest(name: str) -> Guest:
    return Guest(
        Domain(name, memory_mib=256, on_crash=OnEnd.PRESERVE),
        (Attachment(VolumeUse.ROOT, Path("/disk"), True),),
        (Nic("00:16:3e:00:00:01", "gv1"), Nic("00:16:3e:00:00:02", "gv2")),
        namespace="gv-1",
        address="10.77.0.9",
    )


def test_the_host_is_told_with_the_names_of_xl(host: Host) -> None:
    host.monitor.create(guest("vm1"))
    facts = host_facts(host)
    assert {"host", "release", "machine", "nr_cpus", "free_memory"} < facts.keys()
    assert (facts["monitor"], facts["domains"], facts["outstanding_memory"]) == ("fake", 1, 256 + 24)
    assert facts["state"] == str(host.places.state)
    json.dumps(facts)


def test_a_domain_is_told_as_it_was_asked_for_and_as_it_is(host: Host) -> None:
    row = host.monitor.create(guest("vm1"), paused=True)
    facts = domain_facts(host, "vm1")
    assert (facts["name"], facts["id"], facts["state"], facts["memory"]) == ("vm1", row.id, "paused", 256)
    assert facts["macs"] == "00:16:3e:00:00:01, 00:16:3e:00:00:02"
    assert (facts["disks"], facts["on_crash"]) == ("root=/disk", "preserve")
    assert str(facts["since"]).endswith("+00:00")
    json.dumps(facts)


def test_nobody_is_told_of_a_domain_that_is_not_there(host: Host) -> None:
    with pytest.raises(NoSuchDomain):
        domain_facts(host, "nobody")
