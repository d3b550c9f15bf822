"""The scripts with which the role ce makes A-REX quick: they ask the real ones when there is something to ask."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

PREPARE = Path(__file__).parents[2] / "src/gridvisor/roles/ce/prepare.sh"


def script_of(variable: str, folder: Path, real: str) -> Path:
    """What prepare.sh writes to `$variable`, in `folder`, beside a `.distrib` that does `real`."""
    found = re.search(rf"^cat >\${variable} <<'EOF'\n(.*?)^EOF\n", PREPARE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    file = folder / variable
    file.write_text(found[1].replace("/usr/lib/arc/arcconfig-parser.distrib", f"{file}.distrib"))
    Path(f"{file}.distrib").write_text(f"#!/bin/sh\n{real}\n")
    for one in (file, Path(f"{file}.distrib")):
        one.chmod(0o755)
    return file


def test_the_configuration_as_json_is_asked_for_once_until_it_is_written_anew(tmp_path: Path) -> None:
    parser = script_of("parser", tmp_path, f"echo asked >>{tmp_path}/times; cat $5")
    config = tmp_path / "arex.cfg"

    def ask() -> str:
        return subprocess.run([parser, "-e", "json", "--load", "-r", config], capture_output=True, text=True).stdout

    config.write_text("first")
    os.utime(config, (1, 1))
    assert [ask(), ask()] == ["first", "first"]
    assert (tmp_path / "times").read_text().count("asked") == 1
    config.write_text("second")
    os.utime(config, (2**31, 2**31))  # after what was kept
    assert ask() == "second"


@pytest.mark.parametrize(("under_way", "looks"), [(1, 0), (0, 1)])
def test_finished_jobs_are_looked_for_when_slurm_has_fewer(tmp_path: Path, under_way: int, looks: int) -> None:
    processing = tmp_path / "control/processing"
    processing.mkdir(parents=True)
    (processing / "a.status").write_text("INLRMS\n")
    (processing / "b.status").write_text("FINISHED\n")
    scan = script_of("scan", tmp_path, f"echo looked >>{tmp_path}/times; rm {processing}/a.status")
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\nseq {under_way}\n")
    squeue.chmod(0o755)
    with pytest.raises(subprocess.TimeoutExpired):  # it has no end
        subprocess.run(
            [scan, "--config", "x", tmp_path / "control"],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            timeout=2,
        )
    times = tmp_path / "times"
    assert (times.read_text().count("looked") if times.exists() else 0) == looks


@pytest.mark.parametrize(
    ("job", "looked_s", "started_s", "looks"),
    [
        ("", None, -1000, True),  # never before
        ("", -100, -1000, False),
        ("", -100, -50, True),  # those that it tells were started a moment ago
        ("processing/a.status", 100, -1000, True),
        ("finished/a.status", -100, -1000, True),  # since the last look
        ("finished/a.status", 100, -1000, False),
    ],
)
def test_a_rex_looks_at_jobs_when_there_is_one_to_look_at(
    tmp_path: Path, job: str, looked_s: float | None, started_s: float, looks: bool
) -> None:
    control, run = tmp_path / "var/spool/arc/jobstatus", tmp_path / "run"
    states = [control / name for name in ("accepting", "processing", "restarting", "finished")]
    for folder in (*states, run):
        folder.mkdir(parents=True)
    if job:
        (control / job).write_text("INLRMS")
    else:
        for folder in states:
            os.utime(folder, (1, 1))
    for name, since_s in (("arched-arex.cfg", started_s), ("arc-looked", looked_s)):
        if since_s is not None:
            (run / name).write_text("")
            os.utime(run / name, (time.time() + since_s,) * 2)
    info = script_of("info", tmp_path, f"echo looked >{tmp_path}/times")
    info.write_text(re.sub(r"/(?=var/spool|run/)", f"{tmp_path}/", info.read_text()))
    process = subprocess.Popen([info, "--splitjobs", "--config", "x"])
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert (tmp_path / "times").exists() == looks
