"""The store: what is in it is whole, what is in use stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.core.files import locked
from gridvisor.core.places import Places
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.image.store import DEBS_KEPT_DAYS, Image, ImageStore
from gridvisor.package.apt import PackageVersion


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(Places(tmp_path / "cache", tmp_path / "state"))


def put(store: ImageStore, image_id: str, name: str = "base", *, built_at: float = 1.0) -> Image:
    folder = store.new_build_folder(image_id)
    (folder / "root.img").write_bytes(b"x" * 4096)
    package = PackageVersion("bash", "5.2-1", "amd64", "0" * 64)
    image = Image(
        *(image_id, name, "trixie", store.disk_of(image_id), 4096, 4096),
        *((package,), built_at, NetworkStyle.NETWORKD, True),
    )
    return store.publish(folder, image)


def test_an_image_comes_back_as_it_was_put_and_cannot_be_written(store: ImageStore) -> None:
    image = put(store, "aa11")
    assert store.list() == (image,)
    assert image.path.read_bytes() == b"x" * 4096
    assert image.path.stat().st_mode & 0o777 == 0o444


def test_an_empty_store_has_nothing(store: ImageStore) -> None:
    assert store.list() == ()
    assert store.gc(frozenset()).removed == ()
    with pytest.raises(Refused, match="none yet"):
        store.find("base")


def test_a_name_means_its_newest_image(store: ImageStore) -> None:
    put(store, "aa11", built_at=1.0)
    put(store, "bb22", built_at=3.0)
    put(store, "cc33", built_at=2.0)
    assert store.find("base").id == "bb22"


def test_an_id_may_be_cut_short_unless_it_is_ambiguous(store: ImageStore) -> None:
    put(store, "aa11")
    put(store, "aa22")
    assert store.find("aa1").id == "aa11"
    with pytest.raises(Refused, match="aa11, aa22"):
        store.find("aa")
    with pytest.raises(Refused, match="There is: base"):
        store.find("")


@pytest.mark.parametrize("name", ["..", "../images/aa11", ".build-aa11", ".locks"])
def test_a_path_is_no_name(store: ImageStore, name: str) -> None:
    put(store, "aa11")
    with pytest.raises(Refused):
        store.find(name)


def test_an_image_in_use_is_not_removed(store: ImageStore) -> None:
    image = put(store, "aa11")
    with pytest.raises(Refused, match="copies of"):
        store.remove(image, in_use=frozenset({"aa11"}))
    assert image.path.exists()
    store.remove(image, in_use=frozenset())
    assert list(store.root.glob("*a*")) == []


def test_gc_keeps_the_newest_of_each_name_and_what_is_in_use(store: ImageStore) -> None:
    for image_id, name, built_at in (("a1", "a", 1.0), ("a2", "a", 2.0), ("a3", "a", 3.0), ("b1", "b", 1.0)):
        put(store, image_id, name, built_at=built_at)
    freed = store.gc(frozenset({"a2"}))
    assert freed.removed == ("a1",)
    assert freed.freed_bytes == 4096
    assert [image.id for image in store.list()] == ["a3", "a2", "b1"]


def test_a_build_that_died_is_no_image_and_gc_takes_it_away(store: ImageStore) -> None:
    folder = store.new_build_folder("aa11")
    (folder / "root.img").write_bytes(b"x" * 8192)
    assert store.list() == ()
    assert store.gc(frozenset()).freed_bytes >= 8192
    assert not folder.exists()


def test_a_build_that_lives_is_left_alone(store: ImageStore) -> None:
    with locked(store.lock_path("aa11")):
        folder = store.new_build_folder("aa11")
        store.gc(frozenset())
        assert folder.exists()
        # Its holder clears what earlier builds of the same id left.
        store.clear_dead_builds("aa11")
    assert not folder.exists()


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"id": "aa11"}'])
def test_a_folder_without_a_good_record_is_no_image(store: ImageStore, record: str) -> None:
    put(store, "aa11")
    (store.root / "aa11/image.json").write_text(record)
    assert store.list() == ()
    assert store.get("aa11") is None


def test_gc_removes_only_package_files_that_no_build_touched_for_long(store: ImageStore) -> None:
    store.debs.mkdir(parents=True)
    old, new = store.debs / "old_1_all.deb", store.debs / "new_1_all.deb"
    for deb in (old, new):
        deb.write_bytes(b"deb")
    long_ago = time.time() - (DEBS_KEPT_DAYS + 1) * 86400
    os.utime(old, (long_ago, long_ago))
    store.gc(frozenset())
    assert (old.exists(), new.exists()) == (False, True)
