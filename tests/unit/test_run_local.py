from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused, TimedOut
from gridvisor.run.command import Command, CommandFailed, Secret, script
from gridvisor.run.local import Local

LOCAL = Local()


def test_the_result() -> None:
    result = LOCAL.run(script('echo "out $1"; echo err >&2', "a b"), timeout_s=20)
    assert (result.status, result.stdout, result.stderr, result.where) == (0, "out a b\n", "err\n", "local")


def test_a_failed_command_says_where_what_and_the_last_lines() -> None:
    with pytest.raises(CommandFailed) as caught:
        LOCAL.run(script("for i in $(seq 20); do echo line $i >&2; done; exit 3"), timeout_s=20)
    lines = str(caught.value).splitlines()
    assert lines[0] == "A command on 'local' failed with status 3:"
    assert "line 20" in lines[-1]
    assert not any(line.endswith("line 8") for line in lines)
    assert caught.value.exit_code == 3
    assert LOCAL.run(script("exit 3"), timeout_s=20, check=False).status == 3


def test_what_is_not_installed_is_refused() -> None:
    with pytest.raises(Refused, match="'no-such-program' is not installed") as caught:
        LOCAL.run(Command.of("no-such-program"), timeout_s=20)
    assert caught.value.hint == "gridvisor doctor"


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    with pytest.raises(Refused, match="cannot be run here: Permission denied"):
        LOCAL.run(Command.of(str(tmp_path / "text")), timeout_s=20)


def test_a_signal_is_128_and_its_number() -> None:
    result = LOCAL.run(script("kill -TERM $$"), timeout_s=20, check=False)
    assert result.status == 128 + signal.SIGTERM


def test_secrets_are_executed_and_never_shown() -> None:
    with pytest.raises(CommandFailed) as caught:
        LOCAL.run(
            Command.of("sh", "-c", 'test "$1" = "$KEY" && exit 9', "sh", Secret("s3"), KEY=Secret("s3")), timeout_s=20
        )
    assert caught.value.result.status == 9
    assert "s3" not in str(caught.value)
    assert str(caught.value).count("***") == 2


def test_stdin_is_closed_unless_given() -> None:
    assert LOCAL.run(Command.of("cat"), timeout_s=20).stdout == ""
    assert LOCAL.run(Command.of("cat", stdin=b"x\xffy"), timeout_s=20).stdout == "x\ufffdy"
    assert LOCAL.run(Command.of("true", stdin=b"x" * 1_000_000), timeout_s=20).status == 0


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("LD_PRELOAD_OF_SOMEBODY", "1")
    monkeypatch.delenv("PATH")
    env = LOCAL.run(Command.of("/usr/bin/env", MINE="1"), timeout_s=20).stdout.splitlines()
    assert "LC_ALL=C.UTF-8" in env
    assert "MINE=1" in env
    assert not [line for line in env if line.startswith(("LANG=", "LD_PRELOAD"))]
    assert any(line.startswith("PATH=") and "/usr/sbin" in line for line in env)


def test_a_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = 'sleep 600 & echo "$! $$" > "$1.new"; mv "$1.new" "$1"; wait'
    with pytest.raises(TimedOut, match="had not ended after 1 s and was killed"):
        LOCAL.run(script(body, str(pids)), timeout_s=1)
    while any(lives(int(pid)) for pid in pids.read_text().split()):
        time.sleep(0.01)  # the grandchild dies in its own time; if it does not, pytest's timeout ends this


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_children_have_a_session_of_their_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"
    assert LOCAL.run(Command.of(sys.executable, "-c", code), timeout_s=20).stdout == "True\n"


def test_files_are_copied_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff")
    LOCAL.put(tmp_path / "a", str(tmp_path / "b"), timeout_s=20)
    LOCAL.get(str(tmp_path / "b"), tmp_path / "c", timeout_s=20)
    assert (tmp_path / "c").read_bytes() == b"\0\xff"
    with pytest.raises(Refused, match=r"absent' cannot be copied to '.*/d': No such file"):
        LOCAL.get(str(tmp_path / "absent"), tmp_path / "d", timeout_s=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
