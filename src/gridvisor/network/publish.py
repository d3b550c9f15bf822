"""Published ports: what listens on 127.0.0.1 of this machine and answers from inside a guest's network.

A process of socat(1) in the host's own namespace listens; for every connection it starts a second one inside the
network's namespace, which connects to the guest. So the network itself needs no way in.
"""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address

from gridvisor.core.errors import Refused
from gridvisor.run.wrapped import enter_netns

LOOPBACK = IPv4Address("127.0.0.1")


def forward(namespace: str, port: int, *, address: IPv4Address, guest_port: int) -> tuple[str, ...]:
    """The command that forwards `port` of 127.0.0.1 for as long as it runs.

    socat itself splits the EXEC at blanks; the quotes keep the colons inside from it.
    """
    inner = " ".join((*enter_netns(namespace), "socat", "-", f"TCP:{address}:{guest_port}"))
    return ("socat", f"TCP-LISTEN:{port},bind={LOOPBACK},reuseaddr,fork", f'EXEC:"{inner}"')


def check_free(port: int) -> None:
    """Raise Refused when something listens at `port` of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(LOOPBACK), port))
            probe.listen(1)
        except OSError as error:
            raise Refused(f"Port {port} of {LOOPBACK} is taken: {os.strerror(error.errno or 0)}.") from error
