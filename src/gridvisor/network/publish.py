"""Published ports: what listens on 127.0.0.1 of this machine and answers from inside a guest's network.

A process of socat(1) in the host's own namespace listens; for every connection it starts a second one inside the
network's namespace, which connects to the guest. So the network itself needs no way in.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import Refused
from gridvisor.core.files import write_whole
from gridvisor.network.dhcp import last_line
from gridvisor.network.namespace import HostNetwork
from gridvisor.network.sockets import tcp_listeners
from gridvisor.run.detached import Detached
from gridvisor.run.wrapped import enter_netns

LOOPBACK = IPv4Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class Published:
    """Port `port` of 127.0.0.1 leads to `guest_port` of `domain`, at `address`. `alive`: the forwarder runs."""

    domain: str
    port: int
    address: IPv4Address
    guest_port: int
    alive: bool = False


class Forwards:
    """The published ports of a network. They outlive us."""

    def __init__(self, network: HostNetwork) -> None:
        self._network = network

    def publish(self, domain: str, port: int, *, address: IPv4Address, guest_port: int) -> Published:
        """Have `port` of this machine's 127.0.0.1 lead to the guest; again, when its forwarder died.

        Raises Refused when the port is taken, or the network does not exist.
        """
        for number in (port, guest_port):
            if not 0 < number < 1 << 16:
                raise Refused(f"{number} is not a TCP port.")
        wanted = Published(domain, port, address, guest_port, alive=True)
        with self._network.lock():
            if not self._network.exists():
                raise Refused(f"Network '{self._network.name}' does not exist.")
            now = self._read(self._record(port))
            if now == wanted:
                return now
            if now is not None and now.alive and now.domain != domain:
                raise Refused(f"Port {port} is published for '{now.domain}' already.")
            self._withdraw(port)
            check_free(port)
            self._network.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._record(port), _render(wanted))
            try:
                self._start(wanted)
            except BaseException:
                self._withdraw(port)
                raise
        return wanted

    def published(self) -> tuple[Published, ...]:
        """All published ports, the dead ones too, by port."""
        found = (self._read(path) for path in self._network.folder.glob("publish-*.json"))
        return tuple(sorted((one for one in found if one is not None), key=lambda one: one.port))

    def unpublish(self, domain: str) -> None:
        """End all forwarders of `domain`, and the connections through them; fine when there is none."""
        with self._network.lock():
            for one in self.published():
                if one.domain == domain:
                    self._withdraw(one.port)

    def _start(self, wanted: Published) -> None:
        process, log = self._process(wanted.port), self._record(wanted.port).with_suffix(".log")
        log.unlink(missing_ok=True)
        argv = forward(self._network.namespace, wanted.port, address=wanted.address, guest_port=wanted.guest_port)
        process.start(self._network.target, argv, log=log)

        def check() -> None:
            pid = process.pid()
            if pid is None:
                raise Refused(f"Port {wanted.port} cannot be published: {last_line(log)}")
            if (LOOPBACK, wanted.port) not in tcp_listeners(pid):
                raise NotYet("it does not listen")

        wait_until(f"the forwarder of port {wanted.port}", check, Deadline.after(10), every_s=0.005)

    def _withdraw(self, port: int) -> None:
        self._process(port).stop()
        for suffix in (".json", ".log"):
            self._record(port).with_suffix(suffix).unlink(missing_ok=True)

    def _record(self, port: int) -> Path:
        return self._network.folder / f"publish-{port}.json"

    def _process(self, port: int) -> Detached:
        return Detached(self._record(port).with_suffix(".pid"))

    def _read(self, path: Path) -> Published | None:
        try:
            facts = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        alive = self._process(facts["port"]).pid() is not None
        return Published(facts["domain"], facts["port"], IPv4Address(facts["address"]), facts["guest_port"], alive)


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


def _render(one: Published) -> str:
    return json.dumps({**asdict(one), "address": str(one.address)})
