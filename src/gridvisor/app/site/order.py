"""In which order machines end and boot, by what their roles need of one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gridvisor.site.machine import Machine


def waves(machines: Sequence[Machine]) -> Iterator[frozenset[str]]:
    """Names of machines that may end together: nobody before those whose role needs theirs.

    Roles that need one another end last, together.
    """
    left = list(machines)
    while left:
        needed = {role for machine in left for role in machine.role.needs if role != machine.role.name}
        ends = [machine for machine in left if machine.role.name not in needed] or left
        yield frozenset(machine.name for machine in ends)
        left = [machine for machine in left if machine not in ends]


def needed_first(machines: Sequence[Machine]) -> tuple[str, ...]:
    """Names of machines in the order in which they boot where not all can at once: nobody before those it needs."""
    ends = [[machine.name for machine in machines if machine.name in names] for names in waves(machines)]
    return tuple(name for names in reversed(ends) for name in names)
