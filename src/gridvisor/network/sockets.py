"""Which sockets are open in a process's network namespace, read from /proc (proc_pid_net(5))."""

from __future__ import annotations

import ipaddress
import sys
from ipaddress import IPv4Address
from pathlib import Path


def udp_ports(pid: int) -> frozenset[int]:
    """The UDP ports that are bound in the namespace of process `pid`; none when it has ended."""
    try:
        table = Path(f"/proc/{pid}/net/udp").read_text()
    except OSError:
        return frozenset()
    return frozenset(port for _, port in parse_sockets(table))


def parse_sockets(table: str) -> list[tuple[IPv4Address, int]]:
    """Local address and port of each row of /proc/PID/net/udp or tcp."""
    rows = []
    for line in table.splitlines()[1:]:
        address, _, port = line.split()[1].partition(":")
        # The kernel prints the address as a number in its own byte order.
        packed = int(address, 16).to_bytes(4, sys.byteorder)
        rows.append((ipaddress.IPv4Address(packed), int(port, 16)))
    return rows
