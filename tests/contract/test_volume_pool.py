"""One suite for every pool of volumes: what storage.pool.VolumePool promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.core.places import Places
from gridvisor.storage.fake import FakePool
from gridvisor.storage.files import FilePool
from gridvisor.storage.pool import VolumePool


@pytest.fixture(params=["fake", "files"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> VolumePool:
    if request.param == "fake":
        return FakePool(tmp_path, "vg0")
    return FilePool(Places(tmp_path / "cache", tmp_path / "state"), "vg0")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "root.img"
    path.write_bytes(b"x" * 5000)
    return path


def test_an_empty_pool_has_nothing(pool: VolumePool) -> None:
    assert list(pool.list()) == []
    assert pool.find("a") is None


def test_a_new_volume_is_found_as_it_was_asked_for_and_takes_no_room(pool: VolumePool) -> None:
    made = pool.create("a", 1 << 30)
    assert (made.group, made.name, made.label) == ("vg0", "a", "vg0/a")
    assert (made.size_bytes, made.used_bytes, made.backing) == (1 << 30, 0, None)
    assert pool.find("a") == made
    assert list(pool.list()) == [made]


def test_a_clone_is_as_large_as_its_image_and_names_it(pool: VolumePool, image: Path) -> None:
    made = pool.clone("a", image)
    assert (made.size_bytes, made.used_bytes, made.backing) == (5000, 0, image)
    assert pool.find("a") == made
    assert image.read_bytes() == b"x" * 5000


def test_volumes_are_listed_by_name_and_have_a_path_each(pool: VolumePool, image: Path) -> None:
    pool.create("c", 1)
    pool.clone("a", image)
    pool.create("b", 1)
    assert [volume.name for volume in pool.list()] == ["a", "b", "c"]
    assert len({volume.path for volume in pool.list()}) == 3


def test_a_name_that_is_taken_is_refused_and_nothing_changes(pool: VolumePool, image: Path) -> None:
    before = pool.create("a", 100)
    with pytest.raises(Refused, match="'vg0/a' exists"):
        pool.create("a", 200)
    with pytest.raises(Refused, match="'vg0/a' exists"):
        pool.clone("a", image)
    assert list(pool.list()) == [before]


def test_a_removed_volume_is_gone_and_its_name_is_free(pool: VolumePool) -> None:
    pool.create("a", 100)
    pool.create("b", 100)
    pool.remove("a")
    pool.remove("a")
    assert [volume.name for volume in pool.list()] == ["b"]
    assert pool.create("a", 300).size_bytes == 300


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", "-a", ".a", "a b", "a\n", "a\0b", "a" * 128, "ä"])
def test_a_name_that_could_be_a_path_or_an_option_is_refused(pool: VolumePool, image: Path, name: str) -> None:
    for verb in (
        pool.find,
        pool.remove,
        lambda name: pool.create(name, 1),
        lambda name: pool.clone(name, image),
        lambda name: type(pool)(Places(image, image), name),
    ):
        with pytest.raises(Refused, match="is not a name"):
            verb(name)
    assert list(pool.list()) == []


@pytest.mark.parametrize("name", ["a", "0", "_a", "+a", "vm1-disk", "a.b", "a" * 127])
def test_names_are_those_of_lvm(pool: VolumePool, name: str) -> None:
    assert pool.create(name, 1).name == name
    assert [volume.name for volume in pool.list()] == [name]


def test_an_image_that_is_not_there_makes_no_volume(pool: VolumePool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pool.clone("a", tmp_path / "none.img")
    assert list(pool.list()) == []
