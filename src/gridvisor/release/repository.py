"""A folder of package files as a repository that apt reads: flat, with an index (sources.list(5))."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.run.command import Command
from gridvisor.run.target import Target

INDEX = "Packages"
_TIMEOUT_S = 60.0


def write_index(folder: Path, *, target: Target, only: Sequence[str] | None = None, into: Path | None = None) -> None:
    """Write the index of the .deb files in `folder`, or of those that `only` names; there, or to the file `into`."""
    debs = [folder / one for one in only] if only is not None else sorted(folder.glob("*.deb"))
    write_whole(into or folder / INDEX, "\n".join(_stanza(deb, target=target) for deb in debs))


def deb_fields(deb: Path, *, target: Target) -> dict[str, str]:
    """What the package file says of itself (deb-control(5)), one line a field, with its SHA256."""
    text = target.run(Command.of("dpkg-deb", "--field", str(deb)), timeout_s=_TIMEOUT_S).stdout
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(" "))
    return fields | {"SHA256": _sha256(deb)}


def _stanza(deb: Path, *, target: Target) -> str:
    text = target.run(Command.of("dpkg-deb", "--field", str(deb)), timeout_s=_TIMEOUT_S).stdout.rstrip("\n")
    return f"{text}\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {_sha256(deb)}\n"


def _sha256(deb: Path) -> str:
    with deb.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
