"""What is told when a command on another machine takes too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.core.errors import TimedOut
from gridvisor.run.command import Command, Result
from gridvisor.run.ssh import Ssh


class Slow:
    """A place where each command is given up."""

    name = "slow"

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        raise TimedOut(f"'{command.shown}' had not ended.")


def test_what_takes_too_long_is_named_with_its_place_and_not_with_the_ssh_that_asked(tmp_path: Path) -> None:
    dom0 = Ssh(host="dom0", user="root", sockets=tmp_path, via=Slow())  # type: ignore[arg-type]
    with pytest.raises(TimedOut) as slow:
        dom0.run(Command(("lvs", "vg 0")), timeout_s=60)
    assert slow.value.message.splitlines() == [
        "A command on 'root@dom0' had not ended after 60 s, and was given up; it may go on over there:",
        "    lvs 'vg 0'",
    ]
