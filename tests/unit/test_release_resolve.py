"""What apt's answers mean, on this machine, for a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gridvisor.package.mirror import Mirror
from gridvisor.release.candidate import Candidate, Source
from gridvisor.release.resolve import Resolver
from gridvisor.run.command import Command, CommandFailed, Result

STATUS = "Package: munge\nStatus: install ok installed\n"


class Apt:
    """Ends with that status and says that there is no such version, whatever it is asked."""

    def __init__(self, status: int) -> None:
        self.status = status

    def run(self, command: Command, **_: object) -> Result:
        return Result(command, self.status, "", "E: Version '9' for 'munge' was not found", 0.1, "here")


def resolver(tmp_path: Path, status: int) -> Resolver:
    source = Source("sid", None, ("munge",), {"munge": "9"})
    candidate = Candidate(tmp_path / "c.yaml", "c", "", (source,), None, ())
    apt: Any = Apt(status)
    found = Resolver(tmp_path, candidate, suite="trixie", mirror=Mirror("http://mirror.test/debian"), target=apt)
    found._root.mkdir(parents=True)
    return found


def test_what_apt_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    assert "'munge' was not found" in resolver(tmp_path, 100).resolve(STATUS).refused


@pytest.mark.parametrize("status", [127, 137])
def test_apt_that_was_killed_or_is_not_there_refuses_nothing(tmp_path: Path, status: int) -> None:
    with pytest.raises(CommandFailed):
        resolver(tmp_path, status).resolve(STATUS)
