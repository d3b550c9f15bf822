"""What each machine of a site is doing, and since when."""

from __future__ import annotations

from dataclasses import dataclass

from gridvisor.app.site.deployment import Deployment, address_of
from gridvisor.app.site.record import read_record
from gridvisor.monitor.protocol import State


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """A machine of a site. `state` is 'ready', 'starting', 'crashed', 'down', or what its domain does; `since_s` is
    since when, in seconds since the epoch; memory in MiB, `held_mib` what the host has given it so far."""

    name: str
    role: str
    state: str
    since_s: float | None
    address: str
    memory_mib: int
    held_mib: int
    cpu_s: float
    published: dict[int, int]


def site_status(deployment: Deployment) -> tuple[MachineStatus, ...]:
    """All machines in the order of the site file, then those that run and are in the file no more."""
    rows = deployment.rows()
    found = []
    for machine in deployment.machines:
        row = rows.pop(machine.name, None)
        record = read_record(deployment.folder_of(machine))
        state, since_s = "down", None
        if row is not None:
            state, since_s = row.state.value, row.crashed_s if row.state is State.CRASHED else row.since_s
            if row.state is State.RUNNING:
                ready_s = record.ready_s if record is not None and record.of(row) else None
                state, since_s = ("starting", row.since_s) if ready_s is None else ("ready", ready_s)
        found.append(
            MachineStatus(
                machine.name,
                machine.role.name,
                state,
                since_s,
                str(address_of(machine)),
                machine.memory_mib,
                row.held_mib if row else 0,
                row.cpu_s if row else 0.0,
                dict(machine.publish),
            )
        )
    for name, row in rows.items():
        found.append(
            MachineStatus(name, "?", row.state.value, row.since_s, "", row.memory_mib, row.held_mib, row.cpu_s, {})
        )
    return tuple(found)
