"""Processes that outlive the command that started them, found again by a file and never mistaken for another.

A process number is used again by the kernel. So the file holds the start of the process's own line in /proc/PID/stat
(proc_pid_stat(5)), whose start time no later process of that number shares. The process writes it itself before it
becomes its program: whoever is killed at whatever moment, there is no process without its file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import TimedOut
from gridvisor.run.command import Command, script
from gridvisor.run.target import Target

# The caller waits for the end of stdout, which comes when the file is written.
_BECOME = """\
pid_file=$1 log=$2
shift 2
read -r line < "/proc/$$/stat"
printf '%s\\n' "$line" > "$pid_file"
exec "$@" >> "$log" 2>&1
"""
_START_TIME = 19  # of the fields that follow the name in brackets


@dataclass(frozen=True, slots=True)
class Detached:
    """The process on this machine that `pid_file` tells of. It leads a session of its own."""

    pid_file: Path

    def start(self, target: Target, argv: Sequence[str], *, log: Path) -> None:
        """Start `argv` through `target`, which must be of this machine; its output is appended to `log`."""
        become = script(_BECOME, str(self.pid_file), str(log), *argv)
        target.run(Command(("setsid", "--fork", *become.argv)), timeout_s=10)

    def pid(self) -> int | None:
        """The number of the process while it lives, else None."""
        try:
            pid, start_time = _identity(self.pid_file.read_text())
            now = Path(f"/proc/{pid}/stat").read_text()
        except (OSError, ValueError):
            return None
        dead = now.rpartition(")")[2].split()[0] in "ZX"
        return None if dead or _identity(now) != (pid, start_time) else pid

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process alone; False when it does not live."""
        pid = self.pid()
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def stop(self, *, grace_s: float = 2.0) -> None:
        """End the process and its children: TERM, KILL after `grace_s`. Fine when it does not live."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                break
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
            with suppress(TimedOut):
                self.wait_until_gone(Deadline.after(grace_s))
        self.pid_file.unlink(missing_ok=True)

    def wait_until_gone(self, deadline: Deadline) -> None:
        """Return when the process does not live. Raises TimedOut."""
        wait_until("the end of a process", self._gone, deadline, every_s=0.005)

    def _gone(self) -> None:
        if self.pid() is not None:
            raise NotYet("it lives")


def _identity(stat: str) -> tuple[int, str]:
    """Process number and start time; the name between them may hold blanks and brackets, and exec changes it."""
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    if len(fields) <= _START_TIME:
        raise ValueError("not a line of /proc/PID/stat")
    return int(head.split()[0]), fields[_START_TIME]
