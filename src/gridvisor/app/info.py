"""What `domain info` tells."""

from __future__ import annotations

from datetime import UTC, datetime

from gridvisor.app.capacity import outstanding_mib
from gridvisor.app.host import Host
from gridvisor.monitor.protocol import DomainRow, NoSuchDomain


def host_facts(host: Host) -> dict[str, object]:
    """The host, with `xl info`'s names where it has one for the thing."""
    rows = host.monitor.list()
    has = host.room()
    return {
        **host.facts(),
        "free_memory": has.memory_mib,
        "free_disk_mib": has.disk_bytes >> 20,
        "monitor": host.monitor.name,
        "domains": len(rows),
        "outstanding_memory": outstanding_mib(rows, overhead_mib=has.overhead_mib),
        "subnet": str(host.network.subnet),
        "bridge": host.network.bridge,
        "state": str(host.places.state),
        "cache": str(host.places.cache),
    }


def domain_facts(host: Host, name: str) -> dict[str, object]:
    """One domain: what it was asked to be, and what it is; of one that is not ours, the latter."""
    row = next((row for row in host.monitor.list() if row.name == name), None)
    if row is None:
        raise NoSuchDomain(name)
    facts = _observed(row)
    return facts if not row.ours else {**facts, **_asked(host, name)}


def _observed(row: DomainRow) -> dict[str, object]:
    since = datetime.fromtimestamp(row.since_s, UTC).isoformat(timespec="seconds") if row.since_s else None
    return {
        "name": row.name,
        "id": row.id,
        "state": row.state.value,
        "memory": row.memory_mib,
        "held_memory": row.held_mib,
        "vcpus": row.vcpus,
        "cpu_time": round(row.cpu_s, 1),
        "since": since,
        "ours": row.ours,
    }


def _asked(host: Host, name: str) -> dict[str, object]:
    guest = host.monitor.guest(name)
    return {
        "address": guest.address,
        "macs": ", ".join(nic.mac for nic in guest.nics),
        "namespace": guest.namespace,
        "disks": ", ".join(f"{volume.use}={volume.path}" for volume in guest.volumes),
        "on_poweroff": guest.domain.on_poweroff.value,
        "on_reboot": guest.domain.on_reboot.value,
        "on_crash": guest.domain.on_crash.value,
        "console_log": str(host.monitor.console(name).log),
    }
