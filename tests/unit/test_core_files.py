from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gridvisor.core.files import is_locked, locked, remove_left, try_locked, write_whole
from gridvisor.core.places import Places

HOLD = """
import sys, time
from pathlib import Path
from gridvisor.core.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_writes_bytes_and_text_with_the_mode(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"\0\xff", mode=0o600)
    write_whole(tmp_path / "b", "ü\n")
    assert (tmp_path / "a").read_bytes() == b"\0\xff"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b").read_text(encoding="utf-8") == "ü\n"
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", "old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_reader_sees_one_whole_content_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = {"x" * 100_000, "y" * 70_000}
    write_whole(path, "x" * 100_000)
    done = threading.Event()

    def write() -> None:
        for _ in range(50):
            for content in contents:
                write_whole(path, content)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set() or not looks:
        assert path.read_text() in contents
        looks += 1
    writer.join()


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    assert not is_locked(path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(path)
        holder.kill()
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
    assert not is_locked(path)


def test_a_lock_is_freed_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), locked(tmp_path / "lock"):
        raise ValueError
    assert not is_locked(tmp_path / "lock")


def test_a_shared_lock_keeps_out_only_who_wants_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with try_locked(path) as alone:
        assert alone
        assert is_locked(path)
    with locked(path, shared=True):
        with locked(path, shared=True), try_locked(path) as alone:
            assert not alone
        with try_locked(path) as alone:
            assert not alone
    with try_locked(path) as alone, try_locked(path) as another:
        assert (alone, another) == (True, False)
    assert not is_locked(path)


def test_threads_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []
    crowded: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            with locked(tmp_path / "lock"):
                inside.append(number)
                if len(inside) > 1:
                    crowded.append(number)
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowded == []


@pytest.mark.parametrize(
    ("environ", "uid", "cache", "state"),
    [
        ({"GRIDVISOR_HOME": "/g", "HOME": "/h"}, 0, "/g/cache", "/g/state"),
        ({"HOME": "/root"}, 0, "/var/cache/gridvisor", "/var/lib/gridvisor"),
        ({"HOME": "/h"}, 1000, "/h/.cache/gridvisor", "/h/.local/state/gridvisor"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, 1000, "/c/gridvisor", "/s/gridvisor"),
    ],
)
def test_places(environ: dict[str, str], uid: int, cache: str, state: str) -> None:
    places = Places.of(environ, uid=uid)
    assert (str(places.cache), str(places.state)) == (cache, state)
    assert len(places.tag) == 6
    assert places.tag != Places(places.cache, places.state / "other").tag


def test_what_is_removed_is_filled_no_more_by_what_still_runs(tmp_path: Path) -> None:
    left = tmp_path / ".work-before"
    (left / "volumes").mkdir(parents=True)
    copying = threading.Event()

    def copy() -> None:
        for number in range(1_000_000):
            try:
                (left / "volumes" / str(number)).touch()
            except FileNotFoundError:
                return
            copying.set()

    copier = threading.Thread(target=copy)
    copier.start()
    assert copying.wait(10)
    remove_left(left)
    copier.join(10)
    assert not copier.is_alive()
    assert list(tmp_path.iterdir()) == []
