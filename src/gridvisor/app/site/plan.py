"""What must be done to bring a site from what it is to what its file says. Pure but for the looking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gridvisor.app.site.record import Record
from gridvisor.monitor.protocol import DomainRow, Guest, State
from gridvisor.site.machine import Machine


class Act(StrEnum):
    """What is done to one machine."""

    CREATE = "create"
    RESTORE = "restore"
    REPLACE = "replace"
    CHANGE = "change"
    AWAIT = "await"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Step:
    """One act on the machine `name`, and why. A step of REMOVE has no `machine`: the site file knows it no more."""

    act: Act
    name: str
    why: str = ""
    machine: Machine | None = None

    @property
    def says(self) -> str:
        """The step as a line for people."""
        return f"{self.act} {self.name}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there of one machine: its domain, what that was started with, what was noted of it, whether its volumes
    are from an earlier life, and what its services lack that once answered, in words."""

    row: DomainRow | None = None
    guest: Guest | None = None
    record: Record | None = None
    has_root: bool = False
    ails: str = ""

    @property
    def was_ready(self) -> bool:
        """True when its services have answered in the life that it is in."""
        if self.row is None or self.row.state is not State.RUNNING or self.record is None:
            return False
        return self.record.of(self.row) and self.record.ready_s is not None


@dataclass(frozen=True, slots=True)
class Desired:
    """What a machine that runs should be: its guest, and its files by their digests."""

    guest: Guest
    files: Mapping[str, str]


def plan(
    machines: Sequence[Machine],
    observed: Mapping[str, Observed],
    desired: Callable[[Machine], Desired | None],
) -> tuple[Step, ...]:
    """The steps, in the order of the site file, removals last; none when all is as it should be.

    `desired` is asked for machines that run only; it gives None when their image would have to be built first.
    """
    wanted = {machine.name for machine in machines}
    steps = [step for machine in machines if (step := _step(machine, observed.get(machine.name, Observed()), desired))]
    gone = [Step(Act.REMOVE, name, "not in the site file") for name in sorted(observed) if name not in wanted]
    return (*steps, *gone)


def _step(machine: Machine, seen: Observed, desired: Callable[[Machine], Desired | None]) -> Step | None:
    if seen.row is None:
        act = Act.RESTORE if seen.has_root else Act.CREATE
        return Step(act, machine.name, "it is not running" if seen.has_root else "", machine)
    if seen.row.state in (State.CRASHED, State.SHUTDOWN):
        why = "it crashed" if seen.row.state is State.CRASHED else "it has ended"
        return Step(Act.RESTORE, machine.name, why, machine)
    want = desired(machine)
    if want is None or seen.guest is None:
        return Step(Act.REPLACE, machine.name, "its image is another", machine)
    if why := ", ".join(differences(seen.guest, want.guest)):
        return Step(Act.REPLACE, machine.name, why, machine)
    if seen.record is None or not seen.record.of(seen.row):
        return Step(Act.CHANGE, machine.name, "which files it has is not known", machine)
    if changed := changed_files(seen.record.files, want.files):
        return Step(Act.CHANGE, machine.name, _some(changed), machine)
    if seen.record.ready_s is None:
        return Step(Act.AWAIT, machine.name, "its services have not all answered yet", machine)
    if seen.ails:
        return Step(Act.AWAIT, machine.name, seen.ails, machine)
    return None


def differences(have: Guest, want: Guest) -> Iterator[str]:
    """What of a running guest cannot be changed while it runs; its identity can."""
    if have.domain.memory_mib != want.domain.memory_mib:
        yield f"memory {have.domain.memory_mib} → {want.domain.memory_mib} MiB"
    if have.domain.vcpus != want.domain.vcpus:
        yield f"vcpus {have.domain.vcpus} → {want.domain.vcpus}"
    if have.nics != want.nics or have.domain.vifs != want.domain.vifs or have.before != want.before:
        yield "its network cards are others"
    if have.companions != want.companions:
        yield "other ports are published"
    have_disks, want_disks = (tuple((v.path, v.backing) for v in guest.volumes) for guest in (have, want))
    if have_disks != want_disks:
        yield "its disks or its image are others"
    if (have.namespace, have.address, have.after) != (want.namespace, want.address, want.after):
        yield "it is defined otherwise"


def changed_files(have: Mapping[str, str], want: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of files that are new, other or gone, sorted."""
    return tuple(sorted(path for path in have.keys() | want.keys() if have.get(path) != want.get(path)))


def _some(paths: Sequence[str], most: int = 3) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return f"{', '.join(paths[:most])}{more}"
