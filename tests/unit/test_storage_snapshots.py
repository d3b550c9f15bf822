"""Snapshots on disk: whole or not at all, and what was broken off is cleared."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.core.places import Places
from gridvisor.storage.files import FilePool
from gridvisor.storage.snapshots import Snapshot, SnapshotStore, images_of_snapshots

BEFORE = Snapshot("before", "kiam", 7.0, {"se-disk": "/images/1/root.img", "se-data": ""}, {"se": "0123"})


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def store(places: Places) -> SnapshotStore:
    return SnapshotStore(places, "kiam")


def take(store: SnapshotStore, snapshot: Snapshot = BEFORE) -> None:
    with store.new(snapshot) as folder:
        (folder / "volumes/file").write_bytes(b"x" * 8192)


def test_a_snapshot_is_found_with_what_it_takes(store: SnapshotStore, places: Places) -> None:
    take(store)
    [found] = store.list()
    assert (found.name, found.at_s, found.machine_ids) == ("before", 7.0, {"se": "0123"})
    assert found.used_bytes >= 8192
    assert store.find("before") == found
    assert images_of_snapshots(places) == {Path("/images/1/root.img")}


def test_the_oldest_is_first(store: SnapshotStore) -> None:
    take(store)
    take(store, Snapshot("a", "kiam", 8.0, {}, {}))
    assert [one.name for one in store.list()] == ["before", "a"]


def test_one_that_fails_leaves_nothing(store: SnapshotStore, places: Places) -> None:
    def fail() -> None:
        with store.new(BEFORE) as folder:
            (folder / "volumes/file").write_text("half")
            raise ValueError("disk")

    with pytest.raises(ValueError, match="disk"):
        fail()
    assert store.list() == ()
    assert list((places.state / "snapshots/kiam").iterdir()) == []


def test_what_a_killed_one_left_is_neither_shown_nor_in_the_way(store: SnapshotStore, places: Places) -> None:
    left = places.state / "snapshots/kiam/.work-before/volumes"
    left.mkdir(parents=True)
    assert store.list() == ()
    take(store)
    assert [path.name for path in (places.state / "snapshots/kiam").iterdir()] == ["before"]


def test_a_foreign_folder_is_left_alone(store: SnapshotStore, places: Places) -> None:
    foreign = places.state / "snapshots/kiam/notes"
    foreign.mkdir(parents=True)
    assert store.list() == ()
    with pytest.raises(Refused, match="no snapshot 'notes'"):
        store.remove("notes")
    with pytest.raises(Refused, match="already"):
        store.require_new("notes")
    store.remove_all()
    assert foreign.is_dir()


@pytest.mark.parametrize("name", ["../x", ".x", "-x", "", "a/b"])
def test_a_name_that_could_be_a_path_is_refused(store: SnapshotStore, name: str) -> None:
    with pytest.raises(Refused, match="not a name"):
        store.require_new(name)


def test_removed_is_gone(store: SnapshotStore) -> None:
    take(store)
    store.remove("before")
    assert store.list() == ()
    with pytest.raises(Refused, match=r"no snapshot 'before'. It has: none yet"):
        store.find("before")


def test_a_volume_comes_back_as_it_was_saved(places: Places, tmp_path: Path) -> None:
    pool = FilePool(places, "site.kiam")
    volume = pool.create("se-data", 1 << 30)
    volume.path.write_bytes(b"first")
    pool.save({"se-data": tmp_path / "kept"})
    volume.path.write_bytes(b"second")
    pool.load({"se-data": tmp_path / "kept"})
    assert volume.path.read_bytes() == b"first"
    pool.remove("se-data")
    pool.load({"se-data": tmp_path / "kept"})
    assert volume.path.read_bytes() == b"first"


def test_holes_of_a_volume_are_not_filled(places: Places, tmp_path: Path) -> None:
    pool = FilePool(places, "site.kiam")
    pool.create("se-data", 1 << 30)
    pool.save({"se-data": tmp_path / "kept"})
    kept = (tmp_path / "kept/data/disk").stat()
    assert (kept.st_size, kept.st_blocks) == (1 << 30, 0)
