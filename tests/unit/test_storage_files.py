"""The pool in a folder: what it does on the disk beyond what every pool promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.places import Places
from gridvisor.storage.files import FilePool, groups


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


def test_an_empty_volume_is_a_sparse_file_of_its_size(places: Places) -> None:
    disk = FilePool(places, "vg0").create("a", 1 << 30).path
    assert (disk.stat().st_size, disk.stat().st_blocks) == (1 << 30, 0)


def test_what_a_volume_takes_is_seen(places: Places) -> None:
    pool = FilePool(places, "vg0")
    with pool.create("a", 1 << 30).path.open("r+b") as disk:
        disk.write(b"x" * 65536)
    volume = pool.find("a")
    assert volume is not None
    assert 65536 <= volume.used_bytes < 1 << 20


def test_a_clone_has_no_file_until_the_guest_makes_one(places: Places, tmp_path: Path) -> None:
    image = tmp_path / "root.img"
    image.write_bytes(b"x")
    path = FilePool(places, "vg0").clone("a", image).path
    assert path.parent.is_dir()
    assert not path.exists()


def test_groups_do_not_see_one_another(places: Places) -> None:
    assert groups(places) == []
    FilePool(places, "vg1").create("a", 1)
    FilePool(places, "vg0").create("b", 1)
    assert groups(places) == ["vg0", "vg1"]
    assert [volume.label for volume in FilePool(places, "vg0").list()] == ["vg0/b"]


def test_a_folder_that_is_no_volume_is_left_alone(places: Places) -> None:
    pool = FilePool(places, "vg0")
    precious = places.state / "volumes" / "vg0" / "mine" / "thesis.tex"
    precious.parent.mkdir(parents=True)
    precious.write_text("\\documentclass")
    assert list(pool.list()) == []
    with pytest.raises(Refused, match="not a volume that gridvisor made"):
        pool.remove("mine")
    assert precious.exists()
    with pytest.raises(Refused, match="exists"):
        pool.create("mine", 1)
    assert precious.exists()


def test_what_is_not_named_as_a_volume_does_not_disturb_the_list(places: Places) -> None:
    pool = FilePool(places, "vg0")
    pool.create("a", 1)
    (places.state / "volumes" / "vg0" / "lost+found of mine").mkdir()
    assert [volume.name for volume in pool.list()] == ["a"]


def test_of_two_that_make_the_same_volume_one_is_refused(places: Places) -> None:
    def make(number: int) -> str:
        try:
            return str(FilePool(places, "vg0").create("a", number).size_bytes)
        except GridvisorError:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(make, range(1, 25)))
    assert results.count("refused") == 23
    assert [volume.name for volume in FilePool(places, "vg0").list()] == ["a"]


def test_what_a_killed_creator_left_is_no_volume_and_goes_with_the_next_one(places: Places) -> None:
    pool = FilePool(places, "vg0")
    pool.create("kept", 1)
    left = places.state / "volumes" / ".work-left"
    (left / "a" / "data").mkdir(parents=True)
    assert groups(places) == ["vg0"]
    assert [volume.name for volume in pool.list()] == ["kept"]
    pool.remove("none")
    assert not left.exists()
    assert [volume.name for volume in pool.list()] == ["kept"]


def test_a_volume_that_cannot_be_made_leaves_nothing(places: Places) -> None:
    pool = FilePool(places, "vg0")
    for size_bytes in (1 << 62, 1 << 90):
        with pytest.raises(Refused, match="TiB cannot be made"):
            pool.create("a", size_bytes)
    assert [path for path in (places.state / "volumes").rglob("*") if path.name != "vg0"] == []
