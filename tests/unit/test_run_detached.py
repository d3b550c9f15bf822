from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridvisor.run.detached import Detached
from gridvisor.run.local import Local


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Detached]:
    process = Detached(tmp_path / "it.pid")
    yield process
    process.stop()


def start(process: Detached, *argv: str) -> int:
    process.start(Local(), argv, log=process.pid_file.with_name("it.log"))
    pid = process.pid()
    assert pid is not None
    return pid


def test_it_leads_a_session_and_is_no_child_of_ours(process: Detached) -> None:
    pid = start(process, "sleep", "60")
    assert os.getsid(pid) == os.getpgid(pid) == pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_stop_ends_it_and_its_children(process: Detached) -> None:
    start(process, "sh", "-c", "sleep 60 & echo $!; wait")
    log = process.pid_file.with_name("it.log")
    while not log.exists() or not log.read_text().endswith("\n"):
        time.sleep(0.01)
    child = int(log.read_text())
    process.stop()
    assert process.pid() is None
    assert not process.pid_file.exists()
    while Path(f"/proc/{child}").exists() and "(sleep) Z" not in Path(f"/proc/{child}/stat").read_text():
        time.sleep(0.01)  # pytest's own timeout ends this if the child lives
    process.stop()


def test_one_that_ignores_term_is_killed(process: Detached) -> None:
    start(process, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done")
    log = process.pid_file.with_name("it.log")
    while not log.exists() or "ready" not in log.read_text():
        time.sleep(0.01)
    process.stop(grace_s=0.2)
    assert process.pid() is None


def test_a_signal_reaches_it_only_while_it_lives(process: Detached) -> None:
    start(process, "sleep", "60")
    assert process.signal(signal.SIGKILL)
    while process.pid() is not None:
        time.sleep(0.01)
    assert not process.signal(signal.SIGTERM)


def test_a_number_that_was_used_again_is_another_process(process: Detached) -> None:
    """The file tells of the bystander's number, with the start time of the process that ended."""
    pid = start(process, "sleep", "60")
    ours = process.pid_file.read_text()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as bystander:
        process.pid_file.write_text(ours.replace(str(pid), str(bystander.pid), 1))
        # The start time counts ticks of 10 ms; two processes of the same tick would be told apart by their number.
        stat = Path(f"/proc/{bystander.pid}/stat").read_text()
        if stat.rpartition(")")[2].split()[19] == ours.rpartition(")")[2].split()[19]:
            process.pid_file.write_text(process.pid_file.read_text().replace(stat.split()[21], "1"))
        assert process.pid() is None
        process.stop()
        assert bystander.poll() is None
        bystander.kill()
    process.pid_file.write_text(ours)


@pytest.mark.parametrize("content", ["", "x", "12", "1 (sh) S 1"])
def test_a_file_that_tells_nothing_is_no_process(process: Detached, content: str) -> None:
    process.pid_file.write_text(content)
    assert process.pid() is None


def test_a_program_that_is_not_there_ends_at_once_and_the_log_says_so(process: Detached) -> None:
    process.start(Local(), ["no-such-program"], log=process.pid_file.with_name("it.log"))
    while process.pid() is not None:
        time.sleep(0.01)
    assert "not found" in process.pid_file.with_name("it.log").read_text()
