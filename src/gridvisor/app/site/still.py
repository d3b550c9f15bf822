"""How the machines of a site stand still while their disks are kept, and what of them is kept beside the disks.

Where the monitor can keep what guests have in memory, they go on from there; else they freeze their file systems, and
boot after a restore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.quiet import quiet, settle
from gridvisor.app.site.record import Record, read_record, write_record
from gridvisor.core.parallel import each
from gridvisor.monitor.protocol import Memory
from gridvisor.site.machine import Machine
from gridvisor.storage.snapshots import Snapshot, SnapshotStore

_HELD_S = 120.0  # for what takes no copying, on the slowest host
_COPY_BYTES_S = 10 << 20  # of the slowest disk


class Still(Protocol):
    """A way to stand still."""

    @property
    def keeps_memory(self) -> bool:
        """Whether machines that run are kept with what they have in memory."""

    def require_room(self, running: Sequence[Machine]) -> int:
        """How many bytes are kept of these beside disks. Raises Refused when there is no room."""

    def hold(self, snapshot: str, running: Sequence[Machine], *, copied_bytes: int) -> AbstractContextManager[None]:
        """Have these machines write nothing for the time of the body, in which so many bytes are copied."""

    def bring_back(self, snapshot: Snapshot, files: Path) -> None:
        """With the snapshot's disks in place, let those machines go on that can; `files` are the site's, as kept."""

    def clear(self, snapshots: Collection[str]) -> None:
        """Remove what is kept but for these snapshots."""


def still_of(deployment: Deployment) -> Still:
    """How the site's machines stand still."""
    memory = deployment.memory
    return Frozen(deployment) if memory is None else Remembered(deployment, memory)


def clear_left(deployment: Deployment, store: SnapshotStore) -> None:
    """Remove what the host has of snapshots that are none any more, or were never finished."""
    still_of(deployment).clear([one.name for one in store.list()])
    deployment.pool.clear(store.volume_folders())


@dataclass(frozen=True, slots=True)
class Frozen:
    """Disks alone are kept: file systems are frozen."""

    deployment: Deployment
    keeps_memory: bool = False

    def require_room(self, running: Sequence[Machine]) -> int:
        """See Still.require_room."""
        return 0

    def hold(self, snapshot: str, running: Sequence[Machine], *, copied_bytes: int) -> AbstractContextManager[None]:
        """See Still.hold; for `quiet.LONGEST_S` at most."""
        return quiet(running, self.deployment)

    def bring_back(self, snapshot: Snapshot, files: Path) -> None:
        """See Still.bring_back: all boot."""

    def clear(self, snapshots: Collection[str]) -> None:
        """See Still.clear."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Machines are kept with their memory. What is dirty in it is on the disks as well: one may have to boot."""

    deployment: Deployment
    memory: Memory
    keeps_memory: bool = True

    def require_room(self, running: Sequence[Machine]) -> int:
        """See Still.require_room."""
        rows = self.deployment.rows()
        return self.memory.require_room([rows[machine.name] for machine in running])

    @contextmanager
    def hold(self, snapshot: str, running: Sequence[Machine], *, copied_bytes: int) -> Iterator[None]:
        """See Still.hold."""
        each(running, lambda machine: settle(machine, self.deployment))
        names = [self.deployment.domain_name(machine) for machine in running]
        with self.memory.hold(snapshot, names, longest_s=_HELD_S + copied_bytes / _COPY_BYTES_S):
            yield

    def bring_back(self, snapshot: Snapshot, files: Path) -> None:
        """See Still.bring_back. One that cannot is told of, and `up` boots it.

        Xen tells each guest how long it was away, so that its clock is right.
        """
        deployment, bus = self.deployment, self.deployment.host.bus
        machines = {
            deployment.domain_name(machine): machine
            for machine in deployment.machines
            if machine.name in snapshot.with_memory
        }
        if not machines:
            return
        with bus.step("bring back memory", where=deployment.site.site), deployment.network.users():
            deployment.network.ensure()
            failed = self.memory.bring_back(snapshot.name, list(machines))
        for name, why in failed.items():
            bus.warn(f"It boots, and does not go on: {why}", where=machines[name].name)
        # Connections of ours that were open, or are, mean nothing to a guest of another time, and it would not say so.
        each(machines.values(), lambda machine: deployment.ssh(machine).stop())
        rows = deployment.rows()
        for machine in machines.values():
            # What it was told then is what it has now, in a life of its domain that has just begun.
            record = read_record(files / "machines" / machine.name)
            if record is not None and (row := rows.get(machine.name)):
                write_record(deployment.folder_of(machine), Record(row.since_s, record.files))

    def clear(self, snapshots: Collection[str]) -> None:
        """See Still.clear."""
        self.memory.clear(snapshots)
