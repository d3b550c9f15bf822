"""Candidates on trial: one that is fine, some with a planted fault, and a trial that is killed on the way."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import eventually
from faults import FAULTS, Fault, candidate, changed_package, changed_role_file, script_that
from home import Home

pytestmark = pytest.mark.uml

VERIFY_S = 600.0
EXPORTER = "prometheus-node-exporter"
SITE = """\
site: tried
machines:
  se: {role: se, volumes: {data: 64MiB}}
"""
# What is planted here is caught on the one machine that this site has.
INNOCENT = "se/tree/etc/motd"
CFG = "se/tree/etc/xrootd/xrootd-se.cfg.j2"
HERE = [
    *(fault for fault in FAULTS if fault.name == "missing-dependency"),
    *(replace(fault, guilty=fault.caught) for fault in FAULTS if fault.name == "open-key"),
    Fault("failing-script", changed_package(EXPORTER, script_that("postinst", "echo no >&2; exit 1")), "se", EXPORTER),
]


def moved_certificate(folder: Path, debs: Path) -> None:
    """A configuration release of two files, one of which is wrong."""
    changed_role_file(CFG, "xrd.tls /etc/grid-security/", "xrd.tls /etc/")(folder, debs)
    (folder / "roles" / INNOCENT).write_text("A storage element.\n")


@pytest.fixture
def site(shared_home: Home) -> Iterator[Path]:
    file = shared_home.folder / "tried.yaml"
    file.write_text(SITE)
    yield file
    assert "tried" not in shared_home.ok("list")


def verify(home: Home, site: Path, file: Path, *options: str, code: int) -> dict[str, Any]:
    """The trial, as JSON; images are not built anew, which takes most of the time."""
    words = ("verify", site, "--candidate", file, "--without", "fresh", "-o", "json", *options)
    done = home.run(*words, timeout_s=VERIFY_S)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr
    trial: dict[str, Any] = json.loads(done.stdout)
    return trial


def test_what_changes_nothing_is_ready_and_goes_on_after_a_kill(shared_home: Home, site: Path, tmp_path: Path) -> None:
    same = Fault("same", changed_package(EXPORTER, lambda tree: None), "", "")
    file = candidate(same, tmp_path / "same", shared_home.places.cache / "debs")
    killed = shared_home.start("verify", site, "--candidate", file, "--without", "fresh")
    trials = shared_home.places.state / "trials/tried"

    def self_check_is_done() -> bool:
        return any(json.loads(file.read_text())["stages"] for file in trials.glob("*/trial.json"))

    eventually(self_check_is_done, seconds=VERIFY_S)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = shared_home.run("verify", site, "--candidate", file, "--without", "fresh", timeout_s=VERIFY_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on with the trial" in done.stderr
    [folder] = trials.iterdir()
    trial = json.loads((folder / "trial.json").read_text())
    assert trial["verdict"] == "ready with remarks"  # since a stage was left out
    assert [stage["findings"] for stage in trial["stages"]] == [[], [], []]
    assert trial["lock"]["se"][EXPORTER].endswith("+fault1")
    # Nothing else is told of than what was upgraded: no noise of a restart, or of time.
    assert {(one["kind"], one["what"]) for one in trial["changes"]} == {("package", EXPORTER)}
    assert "<html" in (folder / "report.html").read_text()


@pytest.mark.parametrize("fault", HERE, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(shared_home: Home, site: Path, tmp_path: Path, fault: Fault) -> None:
    file = candidate(fault, tmp_path / fault.name, shared_home.places.cache / "debs")
    trial = verify(shared_home, site, file, code=1)
    assert trial["verdict"] == "not ready"
    no = [one for stage in trial["stages"] for one in stage["findings"] if one["weight"] == "no"]
    assert {one["blame"] for one in no} <= {"middleware", "configuration"}
    assert any(fault.caught in f"{one['step']} {one['what']}" for one in no), no
    said = " ".join(one["text"] for one in no)
    assert fault.guilty in said or "/" in fault.guilty, said


def test_the_guilty_file_is_named(shared_home: Home, site: Path, tmp_path: Path) -> None:
    fault = Fault("moved-certificate", moved_certificate, "se", CFG)
    file = candidate(fault, tmp_path / fault.name, shared_home.places.cache / "debs")
    trial = verify(shared_home, site, file, "--without", "rollback", "--bisect", code=1)
    [finding, *_] = [one for stage in trial["stages"] for one in stage["findings"]]
    assert (finding["blame"], finding["step"], finding["weight"]) == ("configuration", "se", "no")
    [guilty] = trial["guilty"]
    assert (guilty["suspects"], guilty["sure"]) == ([CFG], 1.0), guilty
