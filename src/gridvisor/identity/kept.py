"""A file that is made once and then found again, whoever asks and whenever anybody was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gridvisor.core.files import locked, write_whole


def kept(path: Path, good: Callable[[bytes], bool], make: Callable[[bytes | None], bytes]) -> bytes:
    """The bytes in `path` if they are `good`; else those that `make` made of the old ones, now kept there, mode 0600.

    All who ask at once, in threads or processes, get the same bytes. Nobody waits for a lock while the file is good.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = _read(path)
    if found is None or not good(found):
        with locked(path.with_name(f"{path.stem}.lock")):
            found = _read(path)
            if found is None or not good(found):
                for left_by_the_killed in path.parent.glob(f".{path.name}.*"):
                    left_by_the_killed.unlink(missing_ok=True)
                found = make(found)
                write_whole(path, found, mode=0o600)
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
