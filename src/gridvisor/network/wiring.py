"""What a monitor has to run for a guest to be on its network, and to be reached where it is published."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from gridvisor.network.publish import forward
from gridvisor.network.tap import Argv, add_tap, remove_tap


@dataclass(frozen=True, slots=True)
class Published:
    """`port` of 127.0.0.1 on this machine, which answers what `guest_port` of the guest at `address` does."""

    port: int
    address: IPv4Address
    guest_port: int


@dataclass(frozen=True, slots=True)
class Wiring:
    """Commands: `before` the guest begins, `companions` for as long as it is there, and `after` it has ended."""

    before: tuple[Argv, ...] = ()
    companions: tuple[Argv, ...] = ()
    after: tuple[Argv, ...] = ()


def taps(namespace: str, bridges: dict[str, str], published: tuple[Published, ...]) -> Wiring:
    """For a guest with these taps, each on a bridge of the namespace."""
    return Wiring(
        before=tuple(argv for tap, bridge in bridges.items() for argv in add_tap(namespace, tap, bridge)),
        companions=tuple(
            forward(namespace, one.port, address=one.address, guest_port=one.guest_port) for one in published
        ),
        after=tuple(remove_tap(namespace, tap) for tap in bridges),
    )
