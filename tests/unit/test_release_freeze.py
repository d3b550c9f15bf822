"""What of frozen releases and candidates' lists is kept, and for how long."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gridvisor.core.places import Places
from gridvisor.release.freeze import KEPT_DAYS, clear_old
from gridvisor.release.lock import LOCK
from gridvisor.release.resolve import STAMP


def made(folder: Path, stamp: str, *, days: float) -> Path:
    """A folder with 8 KiB in it that was last asked for so many days ago."""
    folder.mkdir(parents=True)
    (folder / "content").write_bytes(b"x" * 8192)
    (folder / stamp).touch()
    then = time.time() - days * 86400
    os.utime(folder / stamp, (then, then))
    return folder


def test_what_nobody_asked_for_in_a_month_goes(tmp_path: Path) -> None:
    places = Places(tmp_path, tmp_path / "state")
    old = [
        made(tmp_path / "releases/old", LOCK, days=KEPT_DAYS + 1),
        made(tmp_path / "apt/trixie-sid-old", STAMP, days=KEPT_DAYS + 1),
    ]
    new = [
        made(tmp_path / "releases/new", LOCK, days=KEPT_DAYS - 1),
        made(tmp_path / "apt/trixie-sid-new", STAMP, days=0),
    ]
    assert clear_old(places) >= 2 * 8192
    assert not any(folder.exists() for folder in old)
    assert all((folder / "content").exists() for folder in new)
    assert clear_old(places) == 0
