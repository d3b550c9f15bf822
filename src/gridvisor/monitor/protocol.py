"""The protocol of a monitor, and the records that go in and out of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from gridvisor.core.errors import Refused
from gridvisor.domain.model import Domain


class State(StrEnum):
    """What a domain is doing; `xl list` prints each as one letter."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    DYING = "dying"


class VolumeUse(StrEnum):
    """What a guest does with a volume."""

    ROOT = "root"
    SWAP = "swap"
    DATA = "data"
    IDENTITY = "identity"
    MODULES = "modules"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A volume as a guest gets it. With `backing`, `path` is a copy-on-write file over that read-only one."""

    use: VolumeUse
    path: Path
    writable: bool
    backing: Path | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A guest's interface: its MAC and the tap it is joined to."""

    mac: str
    tap: str


@dataclass(frozen=True, slots=True)
class Guest:
    """Everything a monitor needs to boot a domain: what it should be, and what was made ready for it.

    `namespace` is the network namespace that its taps are in, `address` how it is reached there; `identity_id` the
    sha256 of the identity volume. The commands of `before` run ahead of the domain, `companions` as long as it does,
    and `after` once it has ended, however it ended; so what they make lives exactly as long as the domain.
    """

    domain: Domain
    volumes: tuple[Attachment, ...]
    nics: tuple[Nic, ...] = ()
    namespace: str | None = None
    address: str | None = None
    identity_id: str | None = None
    before: tuple[tuple[str, ...], ...] = ()
    companions: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A domain as it was observed.

    `cpu_s` is processor time used, `since_s` the start in seconds since the epoch; of its `memory_mib` the host has
    given it `held_mib` so far. `crashed_s` is when a crashed one did, None when nobody was there to see it; `namespace`
    is that of its guest. A domain that is not `ours` is shown, and no verb touches it.
    """

    name: str
    id: int
    memory_mib: int
    vcpus: int
    state: State
    cpu_s: float
    since_s: float
    held_mib: int = 0
    crashed_s: float | None = None
    namespace: str | None = None
    ours: bool = True


class NoSuchDomain(Refused):
    """No domain of that name is there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no domain '{name}'.", hint="gridvisor domain list")


class Monitor(Protocol):
    """Runs domains. A domain that powers off is gone from `list`; one that crashed stays until it is destroyed.

    Every verb but `list` and `create` raises NoSuchDomain for a name that `list` does not show.
    """

    @property
    def name(self) -> str:
        """Which monitor this is: 'uml', 'xen', 'fake'."""

    def list(self) -> Sequence[DomainRow]:
        """All domains, in the order of their ids."""

    def create(self, guest: Guest, *, paused: bool = False) -> DomainRow:
        """Start a domain that outlives this process. Raises Refused when the name is taken.

        A crashed domain of that name makes way, unless its `on_crash` is 'preserve'.
        """

    def guest(self, name: str) -> Guest:
        """What was made ready for a domain when it was created."""

    def guests(self) -> Sequence[tuple[DomainRow, Guest]]:
        """Each domain of ours, as `list` shows it, with what was made ready for it; in one look."""

    def destroy(self, name: str) -> None:
        """Stop a domain at once, as if its power failed, and forget it; its volumes stay."""

    def forget(self, name: str) -> None:
        """Remove what is kept of a domain of ours that has powered off; fine when there is nothing, or it runs."""

    def shutdown(self, name: str) -> None:
        """Ask the guest to power off; returns before it has."""

    def reboot(self, name: str) -> None:
        """Ask the guest to reboot; returns before it has."""

    def pause(self, name: str) -> None:
        """Stop the guest's processor; no effect on one that is paused."""

    def unpause(self, name: str) -> None:
        """Let a paused guest go on; no effect on one that runs."""

    def rename(self, name: str, new_name: str) -> None:
        """Give a domain another name. Raises Refused when it is taken."""

    def console(self, name: str) -> ConsoleFiles | ConsoleCommand:
        """How the console of a domain is attached."""

    def console_log(self, name: str) -> bytes:
        """All that the console of a domain has said."""


class Memory(Protocol):
    """What guests of one group have in memory, kept for snapshots, by the names of these. Not every monitor can."""

    def require_room(self, domains: Sequence[DomainRow]) -> int:
        """How many bytes keeping these takes. Raises Refused, with the sum, when there is no room for them."""

    def hold(self, snapshot: str, domains: Sequence[str], *, longest_s: float) -> AbstractContextManager[None]:
        """Keep the memory of these domains, which run, and have them paused for the time of the body.

        They go on when we end, however we do, and after `longest_s` of the body at most: SystemSaidNo is raised then,
        as what was done meanwhile is of no use.
        """

    def bring_back(self, snapshot: str, domains: Sequence[str]) -> Mapping[str, str]:
        """Let these domains, of which none is there, go on from where `hold` has kept them; all at one moment.

        Gives back those that cannot, each with why. Of such a one nothing is left.
        """

    def clear(self, snapshots: Collection[str]) -> None:
        """Remove all that is kept but for these snapshots, once nobody keeps or brings back anything any more."""


@dataclass(frozen=True, slots=True)
class ConsoleFiles:
    """A console: a unix socket that takes and gives its bytes, and the log of all that it gave."""

    socket: Path
    log: Path


@dataclass(frozen=True, slots=True)
class ConsoleCommand:
    """A console: a command of the host's that attaches it to a terminal, and the path there of the log."""

    argv: tuple[str, ...]
    log: str
