"""One suite for every pool of volumes: what storage.pool.VolumePool promises."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fake_lvm import FakeLvm
from gridvisor.app.box import box_of
from gridvisor.app.host import Host
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.run.command import script
from gridvisor.run.local import Local
from gridvisor.run.target import Target
from gridvisor.storage.fake import FakePool
from gridvisor.storage.files import FilePool
from gridvisor.storage.filling import filling
from gridvisor.storage.lvm import LvmPool
from gridvisor.storage.pool import VolumePool

MIB = 1 << 20


@dataclass(frozen=True)
class Bench:
    """A pool on the bench, another one of any group, and whether what is created takes its room at once."""

    pool: VolumePool
    other: Callable[[str], VolumePool]
    thick: bool = False


@pytest.fixture(
    params=[
        "fake",
        "files",
        "lvm-of-words",
        pytest.param("lvm-thin", marks=pytest.mark.box),
        pytest.param("lvm-thick", marks=[pytest.mark.box, pytest.mark.slow]),
    ]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    if request.param == "fake":
        yield Bench(FakePool(tmp_path, "vg0"), lambda name: FakePool(tmp_path, name))
    elif request.param == "files":
        places = Places(tmp_path / "cache", tmp_path / "state")
        yield Bench(FilePool(places, "vg0"), lambda name: FilePool(places, name))
    elif request.param == "lvm-of-words":
        lvm = FakeLvm(tmp_path, thin=True)
        monkeypatch.setenv("PATH", f"{lvm.bin}:{os.environ['PATH']}")

        def words(group: str) -> LvmPool:
            return LvmPool(Local(), "vg0", group, fill=lvm.fill, locks=tmp_path / "locks")

        yield Bench(words("site.one"), words)
    else:
        dom0 = box_of(Host(request.getfixturevalue("box").places, Bus())).dom0
        vg = "vg0" if request.param == "lvm-thin" else _group_without_thin_pool(dom0)

        def pool(group: str) -> LvmPool:
            return LvmPool(dom0, vg, group, fill=filling(dom0), locks=tmp_path / "locks")

        # The box has other tests' volumes in its own group, so that a group inside of it is taken here.
        bench = Bench(pool("vg0" if vg != "vg0" else "site.one"), pool, thick=vg != "vg0")
        yield bench
        for volume in bench.pool.list():
            bench.pool.remove(volume.name)


def _group_without_thin_pool(dom0: Target) -> str:
    """A volume group in a file of dom0."""
    source = """\
vgs vg1 >/dev/null 2>&1 && exit
truncate -s 512M /root/vg1.img
vgcreate -q vg1 "$(losetup --find --show /root/vg1.img)" >&2
"""
    dom0.run(script(source), timeout_s=60)
    return "vg1"


@pytest.fixture
def pool(bench: Bench) -> VolumePool:
    return bench.pool


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "aa11" / "root.img"
    path.parent.mkdir()
    path.write_bytes(b"x" * 5 * MIB + bytes(3 * MIB))
    return path


def test_an_empty_pool_has_nothing(pool: VolumePool) -> None:
    assert list(pool.list()) == []
    assert pool.find("a") is None


def test_a_new_volume_is_found_as_it_was_asked_for(bench: Bench) -> None:
    pool = bench.pool
    made = pool.create("a", 64 * MIB)
    assert (made.name, made.label) == ("a", f"{made.group}/a")
    assert (made.size_bytes, made.used_bytes, made.backing) == (64 * MIB, 64 * MIB if bench.thick else 0, None)
    assert pool.find("a") == made
    assert list(pool.list()) == [made]


def test_a_clone_is_as_large_as_its_image_and_names_it(pool: VolumePool, image: Path) -> None:
    made = pool.clone("a", image)
    assert (made.size_bytes, made.used_bytes, made.backing) == (8 * MIB, 0, image)
    assert pool.find("a") == made
    assert image.stat().st_size == 8 * MIB
    assert pool.clone("b", image).backing == image


def test_an_image_may_be_brought_before_and_again(pool: VolumePool, image: Path) -> None:
    pool.bring(image)
    pool.bring(image)
    assert list(pool.list()) == []
    assert pool.clone("a", image).backing == image


def test_volumes_are_listed_by_name_and_have_a_path_each(pool: VolumePool, image: Path) -> None:
    pool.create("c", 4 * MIB)
    pool.clone("a", image)
    pool.create("b", 4 * MIB)
    assert [volume.name for volume in pool.list()] == ["a", "b", "c"]
    assert len({volume.path for volume in pool.list()}) == 3


def test_a_name_that_is_taken_is_refused_and_nothing_changes(pool: VolumePool, image: Path) -> None:
    before = pool.create("a", 4 * MIB)
    with pytest.raises(Refused, match=r"/a' exists"):
        pool.create("a", 8 * MIB)
    with pytest.raises(Refused, match=r"/a' exists"):
        pool.clone("a", image)
    assert list(pool.list()) == [before]


def test_a_removed_volume_is_gone_and_its_name_is_free(pool: VolumePool) -> None:
    pool.create("a", 4 * MIB)
    pool.create("b", 4 * MIB)
    pool.remove("a")
    pool.remove("a")
    assert [volume.name for volume in pool.list()] == ["b"]
    assert pool.create("a", 12 * MIB).size_bytes == 12 * MIB


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", "-a", ".a", "a b", "a\n", "a\0b", "a" * 128, "ä"])
def test_a_name_that_could_be_a_path_or_an_option_is_refused(bench: Bench, image: Path, name: str) -> None:
    pool = bench.pool
    for verb in (
        pool.find,
        pool.remove,
        lambda name: pool.create(name, 1),
        lambda name: pool.clone(name, image),
        bench.other,
    ):
        with pytest.raises(Refused, match="is not a name"):
            verb(name)
    assert list(pool.list()) == []


@pytest.mark.parametrize("name", ["a", "0", "_a", "+a", "vm1-disk", "a.b", "a" * 100])
def test_names_are_those_of_lvm(pool: VolumePool, name: str) -> None:
    assert pool.create(name, 4 * MIB).name == name
    assert [volume.name for volume in pool.list()] == [name]


def test_an_image_that_is_not_there_makes_no_volume(pool: VolumePool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pool.clone("a", tmp_path / "none.img")
    assert list(pool.list()) == []


def test_saved_volumes_are_no_volumes_of_the_group_and_come_back_as_they_were(
    bench: Bench, image: Path, tmp_path: Path
) -> None:
    pool = bench.pool
    pool.clone("a-disk", image)
    pool.create("a-data", 4 * MIB)
    names = ("a-disk", "a-data")
    assert pool.saving(names).copied_bytes >= 0
    before = [(one.name, one.size_bytes, one.backing, one.path) for one in pool.list()]
    (tmp_path / "kept").mkdir()
    pool.save({name: tmp_path / "kept" / name for name in names})
    (tmp_path / "kept").rename(tmp_path / "named")
    folders = {name: tmp_path / "named" / name for name in names}
    for _ in range(2):
        assert [(one.name, one.size_bytes, one.backing, one.path) for one in pool.list()] == before
        pool.remove("a-data")
        pool.load(folders)
    pool.clear(folders.values())
    pool.load(folders)
    assert [(one.name, one.size_bytes, one.backing, one.path) for one in pool.list()] == before
    pool.clear(())


def test_a_volume_does_not_become_another(pool: VolumePool, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pool.create(name, 4 * MIB)
    pool.save({name: tmp_path / f"kept-{name}" for name in ("a", "b")})
    mixed = {"a": tmp_path / "kept-b", "b": tmp_path / "kept-a"}
    for act in (pool.require_saved, pool.load):
        with pytest.raises(Refused, match="must not become"):
            act(mixed)
    pool.require_saved({name: tmp_path / f"kept-{name}" for name in ("a", "b")})
    pool.clear(())
