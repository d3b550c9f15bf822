"""Whether a machine reaches a port of another one, asked from inside."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from testinfra.host import Host

_WAIT_S = 2


def reaches(guest: Host, address: IPv4Address | str, port: int) -> bool:
    """True when `guest` gets a TCP connection; a refused one and one without an answer are both none."""
    return bool(guest.run(f"timeout {_WAIT_S} bash -c '</dev/tcp/{address}/{port}'").rc == 0)


def reached(guest: Host, wanted: Mapping[str, tuple[IPv4Address | str, int]]) -> set[str]:
    """The names of those among `wanted` that `guest` reaches, all tried side by side."""
    tries = (
        f"(timeout {_WAIT_S} bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo {name}) &"
        for name, (address, port) in wanted.items()
    )
    return set(guest.check_output("\n".join([*tries, "wait"])).split())
