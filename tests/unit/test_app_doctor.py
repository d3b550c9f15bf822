"""What `doctor` finds, on a machine that lacks something."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gridvisor.app import doctor
from gridvisor.app.capacity import GUEST_OVERHEAD_MIB, HOST_RESERVE_MIB, Room, check_memory
from gridvisor.app.doctor import examine, needs
from gridvisor.app.finding import Finding, Verdict
from gridvisor.cli.main import app
from gridvisor.core.places import Places

FITS_MIB = HOST_RESERVE_MIB + 96 + GUEST_OVERHEAD_MIB


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


def finding(places: Places, what: str) -> Finding:
    (found,) = (one for one in examine(places) if one.what == what)
    return found


def test_every_need_is_looked_for_and_nothing_is_changed(places: Places) -> None:
    findings = examine(places)
    names = [one.what for one in findings]
    assert len(set(names)) == len(names)
    assert {need.package for need in needs()} < set(names)
    assert all(one.says for one in findings)
    assert not places.state.exists()
    assert not places.cache.exists()


def test_whatever_is_missing_comes_with_what_mends_it(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda *_, **__: None)
    missing = [one for one in examine(places) if one.verdict is Verdict.MISSING]
    assert {need.package for need in needs() if not need.proof.startswith("/")} <= {one.what for one in missing}
    assert all(one.mend for one in missing)
    assert finding(places, "socat").mend == "apt-get install socat"
    assert finding(places, "user namespaces").verdict is Verdict.NOTE, "not tried, so not judged"


def test_a_user_is_told_to_be_root(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert finding(places, "root").mend == "sudo gridvisor doctor"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert finding(places, "root").verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("error", "mend"), [(FileNotFoundError(2, "none"), "modprobe tun"), (PermissionError(13, "denied"), "run as root")]
)
def test_a_tap_that_cannot_be_made_is_seen(
    places: Places, monkeypatch: pytest.MonkeyPatch, error: OSError, mend: str
) -> None:
    real = os.open

    def fail(path: str, *rest: int, **more: int) -> int:
        if path == "/dev/net/tun":
            raise error
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", fail)
    assert finding(places, "/dev/net/tun").mend == mend


@pytest.mark.parametrize(
    ("has", "what", "verdict"),
    [
        (Room(FITS_MIB, 4 << 30), "memory", Verdict.GOOD),
        (Room(FITS_MIB - 1, 4 << 30), "memory", Verdict.MISSING),
        (Room(10, 4 << 30), "memory", Verdict.MISSING),
        (Room(9999, 2 << 30), "disk", Verdict.GOOD),
        (Room(9999, (2 << 30) - 1), "disk", Verdict.MISSING),
    ],
)
def test_room_is_judged_by_the_smallest_guest(
    places: Places, monkeypatch: pytest.MonkeyPatch, has: Room, what: str, verdict: Verdict
) -> None:
    monkeypatch.setattr(doctor, "room", lambda _: has)
    found = finding(places, what)
    assert found.verdict is verdict
    assert "-" not in found.says.partition(":")[2]


def test_a_guest_that_is_said_to_fit_does() -> None:
    check_memory(96, has=Room(FITS_MIB, 0), outstanding=0)


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.GOOD, 0), (Verdict.NOTE, 0), (Verdict.MISSING, 3)])
def test_the_exit_code_says_whether_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int
) -> None:
    found = Finding("cpio", verdict, "packs", "apt-get install cpio" if code else None)
    monkeypatch.setattr(doctor, "examine", lambda _: (found,))
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == code
    assert ("to mend 'cpio':  apt-get install cpio" in told.output) == bool(code)
    assert ("Nothing is missing" in told.output) != bool(code)
    listed = CliRunner().invoke(app, ["doctor", "-o", "json"])
    assert listed.exit_code == code
    assert json.loads(listed.output)[0]["verdict"] == verdict
