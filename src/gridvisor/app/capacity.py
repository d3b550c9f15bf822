"""Whether domains fit the host: asked before anything starts, answered with the sum."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.core.units import counted, format_size
from gridvisor.monitor.protocol import DomainRow, State

GUEST_OVERHEAD_MIB = 24  # UML's own process, its stubs and the keeper, measured beside the guest's memory
HOST_RESERVE_MIB = 128  # what this machine keeps for itself


@dataclass(frozen=True, slots=True)
class Room:
    """What a host has for guests: memory, and disk at the place that `disk` names.

    It keeps `reserve_mib` for itself, and each guest takes `overhead_mib` beside its own memory.
    """

    memory_mib: int
    disk_bytes: int
    disk: str = "its disk"
    reserve_mib: int = HOST_RESERVE_MIB
    overhead_mib: int = GUEST_OVERHEAD_MIB


def room(state: Path) -> Room:
    """The room of this machine now: its memory is what /proc/meminfo calls available. `state` may not exist yet."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    there = state
    while not there.exists():
        there = there.parent
    disk = os.statvfs(there)
    return Room(int(facts["MemAvailable"].split()[0]) // 1024, disk.f_bavail * disk.f_frsize, str(state))


def outstanding_mib(rows: Sequence[DomainRow], *, overhead_mib: int = GUEST_OVERHEAD_MIB) -> int:
    """Memory that live domains were promised and do not hold yet."""
    live = (row for row in rows if row.state is not State.CRASHED)
    return sum(max(0, row.memory_mib + overhead_mib - row.held_mib) for row in live)


def check_memory(wanted_mib: int, *, has: Room, outstanding: int) -> None:
    """Raise Refused, with the sum and what would fit, when a guest of `wanted_mib` does not fit."""
    free_mib = has.memory_mib - has.reserve_mib - outstanding
    if wanted_mib + has.overhead_mib <= free_mib:
        return
    fits_mib = max(0, free_mib - has.overhead_mib)
    raise Refused(
        f"Not enough memory: the domain needs {wanted_mib} + {has.overhead_mib} MiB. The host has"
        f" {has.memory_mib} MiB available, keeps {has.reserve_mib} for itself and has promised {outstanding} more to"
        f" running domains, which leaves {max(0, free_mib)}.",
        hint=f"a domain of {fits_mib} MiB fits: memory={fits_mib}"
        if fits_mib >= 64
        else "destroy another domain first",
    )


def check_site_memory(wanted_mib: Mapping[str, int], *, has: Room, outstanding: int, freed_mib: int = 0) -> None:
    """Raise Refused, with the sum, when these machines do not all fit; `freed_mib` is what ends before they begin."""
    needed_mib = sum(mib + has.overhead_mib for mib in wanted_mib.values())
    free_mib = has.memory_mib - has.reserve_mib - outstanding + freed_mib
    if needed_mib <= free_mib:
        return
    each = ", ".join(f"{name} {mib}" for name, mib in wanted_mib.items())
    raise Refused(
        f"Not enough memory for {counted(len(wanted_mib), 'machine')}: {needed_mib} MiB in all ({each};"
        f" {has.overhead_mib} more for each). The host has {has.memory_mib} MiB available, keeps"
        f" {has.reserve_mib} for itself and has promised {outstanding} more to running domains, which leaves"
        f" {max(0, free_mib)}.",
        hint="give machines less 'memory' or a smaller 'count' in the site file, or end other domains",
    )


def check_disk(wanted_bytes: int, *, has: Room, unless: str) -> None:
    """Raise Refused when volumes of `wanted_bytes` in all would not fit once they are full.

    `unless` says what has them made all the same.
    """
    if wanted_bytes > has.disk_bytes:
        raise Refused(
            f"Not enough disk: new volumes would grow to {format_size(wanted_bytes)}, and '{has.disk}' has"
            f" {format_size(has.disk_bytes)} free.",
            hint=f"gridvisor image gc, gridvisor volume list; or {unless}, since they are small until they are written",
        )
