"""The signed lock of a release: what it holds, and that it cannot be changed unseen."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest

from gridvisor.package.apt import PackageVersion
from gridvisor.release.lock import Release, RolePackages
from gridvisor.run.local import Local
from gridvisor.trial.model import Stage, StageResult, Trial, Verdict
from gridvisor.trial.seal import LOCK, NAMESPACE, SIGNATURE, SIGNER, SIGNERS, lock_text, seal

TRIAL = Trial(
    "20261123-1", "kiam", "sid", "", 0.0, stages=(StageResult(Stage.UPGRADE, 0.0, 1.0),), verdict=Verdict.NOT_READY
)
XROOTD = PackageVersion("xrootd-server", "6.2-1", "amd64", "ab" * 32)
RELEASE = Release("sid", {"se": RolePackages(("xrootd-server",), (XROOTD,), ("gfal2",))}, Path("/nowhere"))


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    seal(TRIAL, RELEASE, None, tmp_path, keys=tmp_path / "keys", target=Local())
    return tmp_path


def verifies(folder: Path) -> bool:
    words = ("-Y", "verify", "-f", SIGNERS, "-I", SIGNER, "-n", NAMESPACE, "-s", SIGNATURE)
    with (folder / LOCK).open("rb") as file:
        return subprocess.run(("ssh-keygen", *words), stdin=file, cwd=folder, capture_output=True).returncode == 0


def test_the_lock_is_signed_by_a_key_that_nobody_else_reads(sealed: Path) -> None:
    assert verifies(sealed)
    assert stat.S_IMODE((sealed / "keys/signing_ed25519").stat().st_mode) == 0o600


def test_another_verdict_does_not_verify(sealed: Path) -> None:
    lock = sealed / LOCK
    lock.write_text(lock.read_text().replace('"not ready"', '"ready"'))
    assert not verifies(sealed)


def test_the_lock_of_another_key_does_not_verify(sealed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    seal(TRIAL, RELEASE, None, other, keys=tmp_path / "other-keys", target=Local())
    (sealed / SIGNATURE).write_bytes((other / SIGNATURE).read_bytes())
    assert not verifies(sealed)


def test_it_has_the_verdict_and_exactly_what_was_tried(tmp_path: Path) -> None:
    file = tmp_path / "se/tree/etc/motd"
    file.parent.mkdir(parents=True)
    file.write_text("hello\n")
    facts = json.loads(lock_text(TRIAL, RELEASE, tmp_path))
    assert (facts["verdict"], facts["trial"], facts["stages"]) == ("not ready", "20261123-1", ["upgrade"])
    assert facts["packages"] == {
        "se": {"xrootd-server": {"version": "6.2-1", "architecture": "amd64", "sha256": "ab" * 32}}
    }
    assert facts["removed"] == {"se": ["gfal2"]}
    assert facts["files"] == {"se/tree/etc/motd": hashlib.sha256(b"hello\n").hexdigest()}


def test_a_trial_without_packages_has_a_lock_too() -> None:
    facts = json.loads(lock_text(TRIAL, None, None))
    assert (facts["packages"], facts["files"]) == ({}, {})
