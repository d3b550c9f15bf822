"""What was last done to a running machine, kept beside its keys: it belongs to one life of one domain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.identity.model import IdentityEntry, IdentityFile, IdentityFolder
from gridvisor.monitor.protocol import DomainRow

_FILE = "machine.json"


@dataclass(frozen=True, slots=True)
class Record:
    """The files (path → digest) that a machine has from us, in the life that began at `since_s`, and since when its
    services answer in it; None while they do not yet."""

    since_s: float
    files: Mapping[str, str] = field(default_factory=dict)
    ready_s: float | None = None

    def of(self, row: DomainRow) -> bool:
        """True when this is about the life that the domain is in now."""
        return abs(self.since_s - row.since_s) < 0.001


def read_record(folder: Path) -> Record | None:
    """The record in a machine's folder; None when there is none that can be read."""
    try:
        return Record(**json.loads((folder / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Keep the record in a machine's folder."""
    write_whole(folder / _FILE, json.dumps(asdict(record)))


def note_ready(folder: Path, at_s: float | None) -> None:
    """Keep since when the machine's services answer; None when they do no more."""
    if record := read_record(folder):
        write_record(folder, replace(record, ready_s=at_s))


def digests(entries: Iterable[IdentityEntry]) -> dict[str, str]:
    """Path → what tells one entry from another: mode, owner, content."""
    return {entry.path: _digest(entry) for entry in entries}


def _digest(entry: IdentityEntry) -> str:
    if isinstance(entry, IdentityFile):
        what = hashlib.sha256(entry.content).hexdigest()[:32]
        return f"{entry.mode:o} {entry.uid}:{entry.gid} {what}"
    if isinstance(entry, IdentityFolder):
        return f"{entry.mode:o} {entry.uid}:{entry.gid} /"
    return f"-> {entry.target}"
