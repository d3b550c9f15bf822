"""A trial on a whole site: with jobs and transfers all the while, and measured before and after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faults import FAULTS, candidate, package_files
from home import Home

pytestmark = [pytest.mark.uml, pytest.mark.slow]

SITE = """\
site: whole
vos: [dteam]
users: [{name: tester, vo: dteam}]
networks: {site: 10.20.0.0/24, farm: 10.20.1.0/24}
machines: {ui: {role: ui}, ce: {role: ce, memory: 256MiB}, wn: {role: wn}, se: {role: se}}
"""


@pytest.mark.timeout(1500)  # 12 minutes on processors that had other work too
def test_what_makes_jobs_slow_is_found_and_the_jobs_of_the_meantime_are_well(shared_home: Home, tmp_path: Path) -> None:
    site = shared_home.folder / "whole.yaml"
    site.write_text(SITE)
    debs = package_files(shared_home.environment, site, tmp_path / "debs")
    [fault] = (fault for fault in FAULTS if fault.name == "slow-submit")
    # Of the same role as the guilty one there is nothing to do; the other is on the element that runs the jobs.
    file = candidate(fault, tmp_path / "slow", debs, innocent=("slurmctld",))
    words = ("verify", site, "--candidate", file, "--without", "fresh", "--without", "rollback", "-o", "json")
    done = shared_home.run(*words, timeout_s=1200)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    trial = json.loads(done.stdout)
    upgrade = trial["stages"][1]
    assert [(one["step"], one["what"]) for one in upgrade["findings"]] == [("measures", "submission of a job")]
    assert [step["name"] for step in upgrade["steps"]][2:4] == ["ce", "ui"]
    assert len(trial["jobs"]) >= 2
    assert {job["text"] for job in trial["jobs"]} == {""}, "no job was lost, or run twice"
    measured = {one["what"]: one["samples"] for one in trial["before"]}
    assert {"submission of a job", "job, from submission to its end"} < measured.keys()
    assert {"transfer to the storage element", "transfer from the storage element"} < measured.keys()
    assert all(sample > 0 for what in measured if what.startswith("transfer") for sample in measured[what])
    assert "whole" not in shared_home.ok("list")
