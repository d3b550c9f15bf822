"""Candidates on trial: one that is fine, some with a planted fault, days that are bad, and kills in every stage."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from conftest import eventually
from faults import FAULTS, Fault, candidate, changed_package, changed_role_file, package_files, script_that
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
    # A probe says so too; that the look at files does is to be seen here.
    *(replace(fault, caught="hostkey.pem", guilty="hostkey.pem") for fault in FAULTS if fault.name == "open-key"),
    Fault("failing-script", changed_package(EXPORTER, script_that("postinst", "echo no >&2; exit 1")), "se", EXPORTER),
]
# Of the reserved blocks too, which root may use.
FILL = "fallocate -l $(($(stat -f -c %f /) * $(stat -f -c %S /))) /var/fill || :"
# Of what no candidate of ours is made, and some day one is; `caught` is the step.
BAD_DAYS = [
    Fault("hanging-script", changed_package(EXPORTER, script_that("postinst", "sleep 1000")), "se", EXPORTER),
    Fault(
        "full-disk",
        changed_package(EXPORTER, script_that("preinst", FILL)),
        "se",
        "No space left on device",
    ),
    Fault(
        "no-way-back",
        changed_package(EXPORTER, script_that("postinst", "ln -sf /bin/false /usr/sbin/init")),
        "restart",
        "'se' crashed",
    ),
]


def moved_certificate(folder: Path, debs: Path) -> None:
    """A configuration release of two files, one of which is wrong."""
    changed_role_file(CFG, "xrd.tls /etc/grid-security/", "xrd.tls /etc/")(folder, debs)
    (folder / "roles" / INNOCENT).write_text("A storage element.\n")


@pytest.fixture
def debs(shared_home: Home, site: Path, tmp_path: Path) -> Path:
    """The package files that the site is made of."""
    return package_files(shared_home.environment, site, tmp_path / "of-the-site")


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


def test_what_changes_nothing_is_ready_however_often_it_is_killed(
    shared_home: Home, site: Path, tmp_path: Path, debs: Path
) -> None:
    same = Fault("same", changed_package(EXPORTER, lambda tree: None), "", "")
    words = ("verify", site, "--candidate", candidate(same, tmp_path / "same", debs))
    trials = shared_home.places.state / "trials/tried"
    for stages in range(4):
        killed = shared_home.start(*words)

        def is_in_the_next(running: Popen[str] = killed, stages: int = stages) -> bool:
            done = [len(json.loads(file.read_text())["stages"]) for file in trials.glob("*/trial.json")]
            return running.poll() is not None or max(done, default=-1) == stages

        try:
            eventually(is_in_the_next, seconds=VERIFY_S)
            time.sleep(4)  # somewhere in it
        finally:
            killed.send_signal(signal.SIGKILL)
            _, stderr = killed.communicate()
            sys.stderr.write(stderr)  # what it was at, should the test fail
        assert killed.returncode == -signal.SIGKILL
        assert "Traceback" not in stderr
    done = shared_home.run(*words, timeout_s=VERIFY_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on with the trial" in done.stderr
    first, last = sorted(trials.iterdir())
    assert json.loads((first / "trial.json").read_text())["verdict"] is None  # killed in its self-check: begun anew
    trial = json.loads((last / "trial.json").read_text())
    assert trial["verdict"] == "ready"
    assert [stage["findings"] for stage in trial["stages"]] == [[], [], [], []]
    assert trial["lock"]["se"][EXPORTER].endswith("+fault1")
    # Nothing else is told of than what was upgraded: no noise of a restart, or of time.
    assert {(one["kind"], one["what"]) for one in trial["changes"]} == {("package", EXPORTER)}
    assert "<html" in (last / "report.html").read_text()
    assert json.loads((last / "release.lock").read_text())["verdict"] == "ready"


@pytest.mark.parametrize("fault", HERE, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(shared_home: Home, site: Path, tmp_path: Path, debs: Path, fault: Fault) -> None:
    file = candidate(fault, tmp_path / fault.name, debs)
    trial = verify(shared_home, site, file, code=1)
    assert trial["verdict"] == "not ready"
    no = [one for stage in trial["stages"] for one in stage["findings"] if one["weight"] == "no"]
    assert {one["blame"] for one in no} <= {"middleware", "configuration"}
    assert any(fault.caught in f"{one['step']} {one['what']}" for one in no), no
    said = " ".join(one["text"] for one in no)
    assert fault.guilty in said or "/" in fault.guilty, said


@pytest.mark.parametrize("fault", BAD_DAYS, ids=lambda fault: fault.name)
def test_on_a_bad_day_it_is_not_ready(shared_home: Home, site: Path, tmp_path: Path, debs: Path, fault: Fault) -> None:
    file = candidate(fault, tmp_path / fault.name, debs)
    quick = ("--without", "self-check", "--without", "rollback", "--upgrade-timeout", "30")
    trial = verify(shared_home, site, file, *quick, code=1)
    [finding] = [one for stage in trial["stages"] for one in stage["findings"] if one["weight"] == "no"]
    assert (finding["blame"], finding["step"]) == ("middleware", fault.caught)
    assert fault.guilty in finding["text"]


def test_without_a_mirror_there_is_no_verdict(
    shared_home: Home, site: Path, tmp_path: Path, debs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "candidate.yaml"
    file.write_text("candidate: far\npackages: [{suite: sid, match: ['xrootd-*']}]\n")
    monkeypatch.setenv("GRIDVISOR_MIRROR", "http://127.0.0.1:9/debian")
    trial = verify(shared_home, site, file, code=3)
    assert trial["verdict"] == "no verdict"
    [finding] = [one for stage in trial["stages"] for one in stage["findings"]]
    assert (finding["blame"], finding["stage"]) == ("package mirror", "self-check")
    assert "127.0.0.1:9" in finding["text"]


def test_the_guilty_file_is_named(shared_home: Home, site: Path, tmp_path: Path, debs: Path) -> None:
    fault = Fault("moved-certificate", moved_certificate, "se", CFG)
    file = candidate(fault, tmp_path / fault.name, debs)
    trial = verify(shared_home, site, file, "--bisect", "--keep", code=1)
    [finding, *_] = [one for stage in trial["stages"] for one in stage["findings"]]
    assert (finding["blame"], finding["step"], finding["weight"]) == ("configuration", "se", "no")
    [guilty] = trial["guilty"]
    assert (guilty["suspects"], guilty["sure"]) == ([CFG], 1.0), guilty
    # What was tried for that is gone: the site is as the upgrade has left it, and can be had as it was before, too.
    wrong = ("ssh", "-s", "tried-trial", "se", "--", "grep", "-q", "^xrd.tls /etc/xrd", f"/{CFG[8:-3]}")
    assert shared_home.run(*wrong).returncode == 0
    shared_home.ok("snapshot", "restore", "tried-trial", "baseline")
    assert shared_home.run(*wrong).returncode == 1
    shared_home.ok("destroy", "--yes", "tried-trial")
