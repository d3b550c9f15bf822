"""What of frozen releases and candidates' lists is kept, and for how long."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gridvisor.core.errors import ToolOutput
from gridvisor.core.places import Places
from gridvisor.package.apt import PackageVersion
from gridvisor.release import freeze as freeze_module
from gridvisor.release.candidate import Candidate
from gridvisor.release.freeze import KEPT_DAYS, clear_old, freeze
from gridvisor.release.lock import LOCK, RolePackages
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


class Repository:
    """Stands for apt: it fetches what is not there by name, and knows what the repository has now."""

    def __init__(self, archives: Path, *contents: bytes) -> None:
        self.archives, self.contents = archives, list(contents)
        self.sha256 = hashlib.sha256(contents[-1]).hexdigest()

    def update(self) -> None:
        pass

    def resolve(self, _: str) -> RolePackages:
        return RolePackages(("arc",), (PackageVersion("arc", "1", "all", self.sha256),))

    def download(self, _: str) -> Path:
        if not (file := self.archives / "arc_1_all.deb").exists():
            file.write_bytes(self.contents.pop(0))
        return self.archives


def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *contents: bytes) -> bytes:
    """The file that is frozen when these are fetched one after the other, and the last is what was promised."""
    archives = tmp_path / "archives"
    archives.mkdir()
    apt = Repository(archives, *contents)
    monkeypatch.setattr(freeze_module, "Resolver", lambda *_, **__: apt)
    monkeypatch.setattr(freeze_module, "write_index", lambda *_, **__: None)
    apt.download("")
    candidate = Candidate(tmp_path / "c.yaml", "next", "", (), None, ())
    nobody: Any = None
    places = Places(tmp_path, tmp_path / "state")
    release = freeze(candidate, {"ce": ""}, suite="trixie", places=places, mirror=nobody, target=nobody)
    return (release.folder / "arc_1_all.deb").read_bytes()


def test_a_file_that_a_repository_has_made_anew_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert frozen(tmp_path, monkeypatch, b"old", b"new") == b"new"


def test_a_file_that_is_not_what_was_promised_is_not_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolOutput, match="arc_1_all"):
        frozen(tmp_path, monkeypatch, b"old", b"other", b"new")
