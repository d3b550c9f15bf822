"""Folders of domains: alive as long as somebody holds them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.core.places import Places
from gridvisor.monitor.folder import DomainFolders


@pytest.fixture
def folders(tmp_path: Path) -> DomainFolders:
    return DomainFolders(Places(tmp_path / "cache", tmp_path / "state"))


def test_a_claimed_folder_lives_until_its_lock_goes(folders: DomainFolders) -> None:
    with folders.table():
        folder, lock = folders.claim("vm1")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folders.names() == ["vm1"]
    assert folders.alive("vm1")
    lock.close()
    assert not folders.alive("vm1")
    assert folders.names() == ["vm1"], "a dead one is seen until it is removed"


def test_a_name_can_be_claimed_once(folders: DomainFolders) -> None:
    with folders.table():
        _, lock = folders.claim("vm1")
        with pytest.raises(Refused, match="'vm1' exists"):
            folders.claim("vm1")
        assert folders.alive("vm1")
        lock.close()
        folders.remove("vm1")
        folders.remove("vm1")
        folders.claim("vm1")[1].close()


def test_nothing_is_there_at_first(folders: DomainFolders) -> None:
    assert folders.names() == []
    assert not folders.alive("vm1")


CLAIM = """
import sys, time
from pathlib import Path
from gridvisor.core.places import Places
from gridvisor.monitor.folder import DomainFolders
folders = DomainFolders(Places(Path(sys.argv[1]) / "cache", Path(sys.argv[1]) / "state"))
with folders.table():
    held = folders.claim("vm1")
print("claimed", flush=True)
time.sleep(60)
"""


def test_the_folder_of_a_killed_process_is_dead(folders: DomainFolders, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CLAIM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        assert folders.alive("vm1")
        process.send_signal(signal.SIGKILL)
    assert not folders.alive("vm1")


def test_a_lock_that_a_child_inherited_holds_on(folders: DomainFolders) -> None:
    with folders.table():
        _, lock = folders.claim("vm1")
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()]) as child:
        lock.close()
        assert folders.alive("vm1")
        child.kill()
    assert not folders.alive("vm1")


NUMBERS = """
import sys
from pathlib import Path
from gridvisor.core.places import Places
from gridvisor.monitor.folder import DomainFolders
folders = DomainFolders(Places(Path(sys.argv[1]) / "cache", Path(sys.argv[1]) / "state"))
for _ in range(50):
    with folders.table():
        print(folders.next_id())
"""


def test_no_number_is_given_twice(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", NUMBERS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    numbers = [int(line) for process in running for line in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 151))
