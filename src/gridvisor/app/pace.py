"""How quick a host's guests are: an emulated processor is some ten times slower, and shared by all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """`at_once` guests boot side by side, and whatever they do may take `times` as long as on User-Mode Linux here."""

    at_once: int = 32  # our own work for each is waiting for guests and tools
    times: float = 1.0


def emulated(cpus: int) -> Pace:
    """The pace of a host whose `cpus` are emulated: guests that boot beside one another starve one another."""
    return Pace(at_once=cpus, times=10.0)
