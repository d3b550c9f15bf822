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
    text = found[1].replace("/usr/lib/arc/arcconfig-parser.distrib", f"{file}.distrib")
    file.write_text(text.replace("/var/cache/arcconfig-parser", str(folder)))
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


# A parser of which every configuration has a default, and that counts how often it was asked.
_SAVES = """\
[ "$5" = --save ] || exit 9
printf '[arex]\\npidfile=1\\n' | cat - "$2" >"$4"
echo asked >>$(dirname $0)/times"""


def test_the_configuration_is_made_once_of_the_same_files(tmp_path: Path) -> None:
    parser = script_of("parser", tmp_path, _SAVES)
    config, more, into = tmp_path / "arc.conf", tmp_path / "arc.conf.d/more.conf", tmp_path / "new/run.cfg"

    def ask(*words: str | Path) -> str:
        return subprocess.run([parser, *words], capture_output=True, text=True, check=True).stdout

    config.write_text("loglevel=3\n")
    ask("--config", config, "--runconfig", into, "--save")
    assert into.read_text() == "[arex]\npidfile=1\nloglevel=3\n"
    into.unlink()
    ask("-c", config, "--save", "-r", into)
    assert into.read_text() == "[arex]\npidfile=1\nloglevel=3\n"
    assert ask("--config", config, "-b", "arex", "-o", "pidfile") == "1\n"
    assert (tmp_path / "times").read_text().count("asked") == 1
    config.write_text("loglevel=4\n")  # in the same second as before
    assert ask("--config", config, "-b", "arex", "-o", "loglevel") == "4\n"
    more.parent.mkdir()
    more.write_text("loglevel=5\n")
    ask("--config", config, "-b", "arex", "-o", "loglevel")
    assert (tmp_path / "times").read_text().count("asked") == 3


def test_what_the_real_parser_refuses_is_refused(tmp_path: Path) -> None:
    parser = script_of("parser", tmp_path, "echo 'no such block' >&2; exit 3")
    config = tmp_path / "arc.conf"
    config.write_text("")
    for words in (("--config", config, "--runconfig", tmp_path / "x", "--save"), ("-c", config, "--save", "-r", "x")):
        done = subprocess.run([parser, *words], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (3, "no such block\n")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("-b", "infosys/ldap", "-b", "common", "-e", "bash"), {'CONFIG_port="2135"', 'CONFIG_user="a \\"b\\" c=d"'}),
        (
            ("-b", "common", "-b", "infosys/ldap", "-e", "bash"),
            {'CONFIG_user="__array__"', 'CONFIG_user_0="one"', 'CONFIG_user_1="two"', 'CONFIG_port="2135"'},
        ),
        (("--export", "bash", "-b", "infosys/ldap", "-f", "port", "-f", "other"), {'CONFIG_port="2135"'}),
        (("-b", "common", "-o", "user"), {"one", "two"}),
        (("-b", "nothing", "-b", "infosys/ldap", "-o", "port"), {"2135"}),
    ],
)
def test_options_are_told_as_the_real_parser_tells_them(
    tmp_path: Path, words: tuple[str, ...], lines: set[str]
) -> None:
    parser = script_of("parser", tmp_path, "exit 9")
    config = tmp_path / "run.cfg"
    config.write_text('[common]\nuser=one\nuser=two\n\n[infosys/ldap]\nport=2135\nuser=a "b" c=d\n')
    done = subprocess.run([parser, "--load", "-r", config, *words], capture_output=True, text=True, check=True)
    assert {line for line in done.stdout.splitlines() if line} == lines


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
