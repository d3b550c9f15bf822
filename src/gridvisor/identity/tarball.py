"""An identity as a tar: the same bytes for the same identity, whoever writes it and when."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from gridvisor.core.files import write_whole
from gridvisor.identity.model import IdentityEntry, IdentityFile, IdentityFolder


def identity_bytes(entries: Iterable[IdentityEntry]) -> bytes:
    """A ustar archive, sorted by path, with no times and no owner names; its size is a multiple of 512 bytes.

    Folders that are not entries are not in it: unpacking makes missing ones and leaves the modes of existing ones.
    Raises ValueError for a path that is not absolute and plain, or that comes twice.
    """
    by_path: dict[str, IdentityEntry] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if not path.is_absolute() or ".." in path.parts or str(path) != entry.path or len(path.parts) < 2:
            raise ValueError(f"{entry.path!r} is not a plain absolute path")
        if by_path.setdefault(entry.path, entry) is not entry:
            raise ValueError(f"{entry.path!r} comes twice in one identity")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for _, entry in sorted(by_path.items()):
            _add(tar, entry)
    return buffer.getvalue()


def write_identity(entries: Iterable[IdentityEntry], path: Path) -> str:
    """The sha256, in hex, of the archive that now is at `path`, whole and readable by its owner only."""
    data = identity_bytes(entries)
    write_whole(path, data, mode=0o600)
    return hashlib.sha256(data).hexdigest()


def _add(tar: tarfile.TarFile, entry: IdentityEntry) -> None:
    # A new TarInfo has time 0, owner 0 and no owner names, so the ids count and the guest's passwd does not.
    info = tarfile.TarInfo(entry.path.lstrip("/"))
    if isinstance(entry, IdentityFile):
        info.mode, info.uid, info.gid, info.size = entry.mode, entry.uid, entry.gid, len(entry.content)
        tar.addfile(info, io.BytesIO(entry.content))
    elif isinstance(entry, IdentityFolder):
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, entry.mode, entry.uid, entry.gid
        tar.addfile(info)
    else:
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
        tar.addfile(info)
