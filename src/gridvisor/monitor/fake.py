"""A monitor without guests, for hermetic tests: it keeps the protocol, and obeys at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.domain.model import OnEnd
from gridvisor.monitor.protocol import ConsoleFiles, DomainRow, Guest, NoSuchDomain, State


class FakeMonitor:
    """See monitor.protocol.Monitor. `crash` plays a guest whose kernel panics."""

    name = "fake"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, DomainRow] = {}
        self._guests: dict[str, Guest] = {}
        self._next_id = 1

    def list(self) -> Sequence[DomainRow]:
        """See Monitor.list."""
        return sorted(self._rows.values(), key=lambda row: row.id)

    def create(self, guest: Guest, *, paused: bool = False) -> DomainRow:
        """See Monitor.create."""
        domain = guest.domain
        there = self._rows.get(domain.name)
        if there is not None and there.state is not State.CRASHED:
            raise Refused(f"A domain '{domain.name}' exists already.", hint="gridvisor domain list")
        if there is not None and self._guests[domain.name].domain.on_crash is OnEnd.PRESERVE:
            raise Refused(f"The crashed domain '{domain.name}' is preserved, as its configuration asks.")
        state = State.PAUSED if paused else State.RUNNING
        since_s = time.time()
        row = DomainRow(
            domain.name, self._next_id, domain.memory_mib, 1, state, 0.0, since_s, namespace=guest.namespace
        )
        self._next_id += 1
        self._rows[domain.name], self._guests[domain.name] = row, guest
        return row

    def guest(self, name: str) -> Guest:
        """See Monitor.guest."""
        self._find(name)
        return self._guests[name]

    def guests(self) -> Sequence[tuple[DomainRow, Guest]]:
        """See Monitor.guests."""
        return [(row, self._guests[row.name]) for row in self.list()]

    def destroy(self, name: str) -> None:
        """See Monitor.destroy."""
        self._find(name)
        del self._rows[name], self._guests[name]

    def forget(self, name: str) -> None:
        """See Monitor.forget. Nothing is kept."""

    def shutdown(self, name: str) -> None:
        """See Monitor.shutdown."""
        self._running(name)
        self.destroy(name)

    def reboot(self, name: str) -> None:
        """See Monitor.reboot."""
        self._rows[name] = replace(self._running(name), since_s=time.time())

    def pause(self, name: str) -> None:
        """See Monitor.pause."""
        self._rows[name] = replace(self._live(name), state=State.PAUSED)

    def unpause(self, name: str) -> None:
        """See Monitor.unpause."""
        self._rows[name] = replace(self._live(name), state=State.RUNNING)

    def rename(self, name: str, new_name: str) -> None:
        """See Monitor.rename."""
        row = self._find(name)
        if new_name in self._rows:
            raise Refused(f"A domain '{new_name}' exists already.", hint="gridvisor domain list")
        del self._rows[name]
        self._rows[new_name] = replace(row, name=new_name)
        self._guests[new_name] = self._guests.pop(name)

    def console(self, name: str) -> ConsoleFiles:
        """See Monitor.console."""
        self._find(name)
        return ConsoleFiles(self._folder / f"{name}.sock", self._folder / f"{name}.log")

    def console_log(self, name: str) -> bytes:
        """See Monitor.console_log."""
        log = self.console(name).log
        return log.read_bytes() if log.exists() else b""

    def crash(self, name: str) -> None:
        """What a guest does whose kernel panics."""
        self._rows[name] = replace(self._find(name), state=State.CRASHED, crashed_s=time.time())

    def _find(self, name: str) -> DomainRow:
        if name not in self._rows:
            raise NoSuchDomain(name)
        return self._rows[name]

    def _live(self, name: str) -> DomainRow:
        row = self._find(name)
        if row.state is State.CRASHED:
            raise Refused(f"'{name}' has crashed.", hint=f"gridvisor domain destroy {name}")
        return row

    def _running(self, name: str) -> DomainRow:
        row = self._live(name)
        if row.state is State.PAUSED:
            raise Refused(f"'{name}' is paused.", hint=f"gridvisor domain unpause {name}")
        return row
