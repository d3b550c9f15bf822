"""Whether a machine reaches ports of other ones, asked from inside."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from ipaddress import IPv4Address

from testinfra.host import Host

_WAIT_S = 3  # of which perl's clock of whole seconds may take one; Linux asks a second time after one


def reached(guest: Host, wanted: Mapping[str, tuple[IPv4Address | str, int]]) -> set[str]:
    """The names of those among `wanted` that `guest` gets a TCP connection to, all tried side by side."""
    places = [f"{name}={address}:{port}" for name, (address, port) in wanted.items()]
    source = files("gridvisor.probe").joinpath("reach.pl").read_text()
    words = " ".join("%s" for _ in places)
    return set(guest.check_output(f"perl -e %s {_WAIT_S} {words}", source, *places).split())
