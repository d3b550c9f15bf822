"""On which disk of a Xen host a volume is put: those of one machine together, the machines spread over the disks.

So one disk that dies takes whole machines and no others with it, and machines wait for one another's writes as little
as the disks allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a volume group can put a volume whole: a thin pool, or else one of its physical volumes.

    `volumes` are the names of those that are there.
    """

    name: str
    free_bytes: int
    volumes: tuple[str, ...]


def spot_for(volume: str, size_bytes: int, spots: Sequence[Spot]) -> Spot:
    """Where the new `volume` belongs: beside the others of its machine, even if it is too large for there.

    The first one of a machine goes where the fewest machines are, and of these to the most room; where it does not fit
    only if it fits nowhere. `spots` must not be empty.
    """
    machine = machine_of(volume)
    if there := next((spot for spot in spots if machine in _machines(spot.volumes)), None):
        return there
    roomy = [spot for spot in spots if spot.free_bytes >= size_bytes] or spots
    return min(roomy, key=lambda spot: (len(_machines(spot.volumes)), -spot.free_bytes, spot.name))


def machine_of(volume: str) -> str:
    """Whose volume it is: 'ce' has 'ce-disk', 'ce-swap' and 'ce-data'."""
    return volume.rpartition("-")[0] or volume


def _machines(volumes: Iterable[str]) -> set[str]:
    return {machine_of(volume) for volume in volumes}
