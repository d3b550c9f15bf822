"""The script by which a guest holds still, with a file system of words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

MOUNTS = """\
proc /proc proc rw 0 0
/dev/ubda / ext4 rw,relatime 0 0
/dev/ubdd /usr/lib/modules ext4 ro 0 0
tmpfs /run tmpfs rw 0 0
/dev/ubdc /srv/data ext4 rw 0 0
/dev/ubdc /export/data ext4 rw 0 0
"""
STUB = '#!/bin/sh\necho "${{0##*/}} $*" >>{log}\n{more}\n'

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(tmp_path: Path, log: Path) -> Start:
    def begin(*, longest_s: str = "20", more: str = "") -> subprocess.Popen[str]:
        bin_ = tmp_path / "bin"
        bin_.mkdir()
        for name in ("fsfreeze", "sync"):
            (bin_ / name).write_text(STUB.format(log=log, more=more if name == "fsfreeze" else ""))
            (bin_ / name).chmod(0o755)
        (tmp_path / "mounts").write_text(MOUNTS)
        script = files("gridvisor.app.site").joinpath("quiet.sh").read_text()
        script = script.replace("/proc/mounts", str(tmp_path / "mounts")).replace("/var/lib", str(tmp_path / "lib"))
        return subprocess.Popen(
            ["sh", "-c", script, "sh", longest_s, "0123"],
            env={"PATH": f"{bin_}:/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def test_data_is_frozen_before_root_and_all_goes_on_when_stdin_ends(start: Start, log: Path, tmp_path: Path) -> None:
    with start() as guest:
        assert guest.stdout is not None
        assert guest.stdin is not None
        assert guest.stdout.readline() == "frozen\n"
        assert log.read_text().splitlines() == [
            "sync --file-system /srv/data",
            "sync --file-system /",
            "fsfreeze --freeze /srv/data",
            "fsfreeze --freeze /",
        ]
        guest.stdin.close()
        assert guest.stdout.read() == "in time\n"
    assert log.read_text().splitlines()[4:] == ["fsfreeze --unfreeze /", "fsfreeze --unfreeze /srv/data"]
    assert (tmp_path / "lib/gridvisor/disk-of").read_text() == "0123\n"


def test_a_guest_goes_on_by_itself(start: Start, log: Path) -> None:
    with start(longest_s="0.1") as guest:
        assert guest.stdout is not None
        assert guest.stdout.read() == "frozen\ntoo late, after 0.1 s\n"
    assert log.read_text().count("unfreeze") == 2


def test_one_that_cannot_be_frozen_lets_the_others_go(start: Start, log: Path) -> None:
    fails = '[ "$*" != "--freeze /" ] || { echo "fsfreeze: /: busy" >&2; exit 1; }'
    with start(more=fails) as guest:
        assert guest.stdout is not None
        assert guest.stdout.read() == "fsfreeze: /: busy\n"
    assert guest.returncode == 1
    assert "fsfreeze --unfreeze /srv/data" in log.read_text()


def test_a_signal_while_it_freezes_leaves_nothing_frozen(start: Start, log: Path) -> None:
    with start(more='[ "$*" != "--freeze /srv/data" ] || kill -TERM $PPID') as guest:
        guest.communicate()
    assert guest.returncode == 1
    assert log.read_text().splitlines()[-2:] == ["fsfreeze --freeze /srv/data", "fsfreeze --unfreeze /srv/data"]


def test_a_full_disk_can_be_kept(start: Start, tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("not a folder")
    with start() as guest:
        assert guest.communicate()[0] == "frozen\nin time\n"
