"""Files that are there whole or not at all, and locks that the kernel lets go when their holder dies."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part of it."""
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_left(folder: Path) -> None:
    """Remove a folder that one of us was filling who was killed.

    It is renamed first: a `cp` that was begun then may still run, and puts nothing more into what it finds no more.
    """
    dead = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
    folder.rename(dead)
    shutil.rmtree(dead)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path` alone, or with others that hold it `shared`; freed by the kernel if we are killed.

    Waits for those with whom it cannot be held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` alone, as `locked` does, if nobody else holds it; whether we do is what it gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        alone = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        yield alone


def is_locked(path: Path) -> bool:
    """True while a living process holds the lock file `path`."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
