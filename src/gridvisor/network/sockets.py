"""Which sockets are open in a process's network namespace, read from /proc (proc_pid_net(5))."""

from __future__ import annotations

import ipaddress
import sys
from ipaddress import IPv4Address
from pathlib import Path

_TCP_LISTEN = "0A"


def udp_ports(pid: int) -> frozenset[int]:
    """The UDP ports that are bound in the namespace of process `pid`; none when it has ended."""
    return frozenset(port for _, port, _ in parse_sockets(_table(pid, "udp")))


def tcp_listeners(pid: int) -> frozenset[tuple[IPv4Address, int]]:
    """Address and port of each listening TCP socket in the namespace of process `pid`; none when it has ended."""
    return frozenset((a, port) for a, port, state in parse_sockets(_table(pid, "tcp")) if state == _TCP_LISTEN)


def parse_sockets(table: str) -> list[tuple[IPv4Address, int, str]]:
    """Local address, port and state (hexadecimal) of each row of /proc/PID/net/tcp or udp."""
    rows = []
    for line in table.splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        address, _, port = local.partition(":")
        # The kernel prints the address as a number in its own byte order.
        packed = int(address, 16).to_bytes(4, sys.byteorder)
        rows.append((ipaddress.IPv4Address(packed), int(port, 16), state))
    return rows


def _table(pid: int, protocol: str) -> str:
    try:
        return Path(f"/proc/{pid}/net/{protocol}").read_text()
    except OSError:
        return ""
