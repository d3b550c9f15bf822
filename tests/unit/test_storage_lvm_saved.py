"""Volumes of LVM that are kept for snapshots, with an LVM of words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fake_lvm import MIB, FakeLvm
from gridvisor.core.errors import GridvisorError, Refused, ToolOutput
from gridvisor.run.local import Local
from gridvisor.storage.lvm import LvmPool
from gridvisor.storage.pool import Saving

NAMES = ("se-disk", "se-data")


class World:
    """A volume group with the volumes of a machine; one that is a clone, and one that is not."""

    def __init__(self, folder: Path, *, thin: bool) -> None:
        self.folder = folder
        self.lvm = FakeLvm(folder, thin=thin)
        self.image = folder / "a1/root.img"
        self.image.parent.mkdir()
        self.image.write_text("image")
        os.truncate(self.image, 4 * MIB)

    def make(self) -> LvmPool:
        pool = self.pool
        pool.clone("se-disk", self.image)
        pool.create("se-data", 8 * MIB, label="data")
        self.write("first")
        return pool

    @property
    def pool(self) -> LvmPool:
        return LvmPool(Local(), "vg0", "site.kiam", fill=self.fill, locks=self.folder / "locks")

    def fill(self, image: Path, device: str, *, is_empty: bool) -> None:
        self.lvm.put(Path(device).name, "image")

    def write(self, text: str) -> None:
        for name in NAMES:
            self.lvm.put(f"site.kiam.{name}", f"{name} {text}")

    def held(self) -> dict[str, str]:
        volumes = self.lvm.volumes
        return {name: volumes[f"site.kiam.{name}"]["content"] for name in NAMES}

    def folders(self, kept: str = "kept") -> dict[str, Path]:
        (self.folder / kept).mkdir(exist_ok=True)
        return {name: self.folder / kept / name for name in NAMES}

    def saved(self) -> list[str]:
        return [name for name in self.lvm.volumes if name.startswith("gridvisor.snapshot.")]


@pytest.fixture(params=["thin", "thick"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, thin=request.param == "thin")
    monkeypatch.setenv("PATH", f"{world.lvm.bin}:{os.environ['PATH']}")
    return world


@pytest.fixture
def thin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, thin=True)
    monkeypatch.setenv("PATH", f"{world.lvm.bin}:{os.environ['PATH']}")
    return world


def test_they_come_back_as_often_as_one_likes_and_nothing_is_left(world: World) -> None:
    pool = world.make()
    labels = [(one.name, one.backing, one.size_bytes) for one in pool.list()]
    machines = set(world.lvm.volumes)
    pool.save(world.folders())
    for _ in range(2):
        world.write("second")
        pool.load(world.folders())
        assert world.held() == {"se-disk": "se-disk first", "se-data": "se-data first"}
        assert [(one.name, one.backing, one.size_bytes) for one in pool.list()] == labels
    assert len(world.saved()) == 2
    pool.clear(())
    assert set(world.lvm.volumes) == machines
    pool.clear(())


def test_in_a_thin_pool_nothing_is_copied_and_what_is_kept_is_not_active(thin: World) -> None:
    pool = thin.make()
    assert pool.saving(NAMES) == Saving(copied_bytes=0, beside_bytes=0)
    done = len(thin.lvm.said)
    pool.save(thin.folders())
    pool.load(thin.folders())
    assert [said.split()[0] for said in thin.lvm.said[done:]] == ["lvcreate"] * 2 + ["lvremove", "lvcreate"] * 2
    assert [thin.lvm.volumes[name]["active"] for name in thin.saved()] == [False, False]
    assert thin.lvm.volumes["site.kiam.se-disk"]["active"]


def test_what_is_kept_says_whose_it_is_and_is_not_counted_where_machines_are_spread(world: World) -> None:
    pool = world.make()
    pool.save(world.folders())
    tags = {name: set(world.lvm.volumes[name]["tags"]) for name in world.saved()}
    assert all({"gridvisor", "gridvisor.snapshot-of=site.kiam"} < one for one in tags.values())
    of = {tag for one in tags.values() for tag in one if tag.startswith("gridvisor.volume=")}
    assert of == {"gridvisor.volume=se-disk", "gridvisor.volume=se-data"}
    [spot] = pool._look().spots
    assert sorted(spot.volumes) == ["site.kiam.se-data", "site.kiam.se-disk"]
    assert LvmPool(Local(), "vg0", "vg0", fill=world.fill, locks=world.folder / "locks").list() == ()


def test_cleared_is_what_no_folder_names_of_this_group_alone(world: World) -> None:
    pool = world.make()
    pool.save(world.folders())
    world.lvm.add("gridvisor.snapshot.1234.se-disk", "gridvisor", "gridvisor.snapshot-of=site.kiam")
    world.lvm.add("gridvisor.snapshot.1234.se-data", "gridvisor.making", "gridvisor.snapshot-of=site.kiam")
    world.lvm.add("gridvisor.snapshot.1234.ce-disk", "gridvisor", "gridvisor.snapshot-of=site.other")
    world.lvm.add("gridvisor.snapshot.1234.mine", "gridvisor.snapshot-of=site.kiam")
    kept = world.saved()[:2]
    pool.clear(world.folders().values())
    left = ["gridvisor.snapshot.1234.ce-disk", "gridvisor.snapshot.1234.mine"]
    assert world.saved() == kept + left
    (world.folders()["se-disk"] / "volume.json").write_text("")
    with pytest.raises(ToolOutput, match="does not say which volume"):
        pool.clear(world.folders().values())
    assert world.saved() == kept + left, "rather too much is kept than too little"


def test_a_restore_goes_on_where_it_was_killed(world: World) -> None:
    pool = world.make()
    pool.save(world.folders())
    world.write("second")
    pool.remove("se-disk")
    if not world.lvm.volumes[world.saved()[0]]["pool"]:
        world.lvm.add("site.kiam.se-disk", "gridvisor.making", "gridvisor.group=site.kiam")
    pool.load(world.folders())
    assert world.held() == {"se-disk": "se-disk first", "se-data": "se-data first"}


def test_a_volume_in_its_place_that_is_not_ours_is_left_alone(world: World) -> None:
    pool = world.make()
    pool.save(world.folders())
    pool.remove("se-data")
    world.lvm.add("site.kiam.se-data", "mine")
    before = world.lvm.volumes
    with pytest.raises(Refused, match=r"'vg0/site\.kiam\.se-data' is not a volume that gridvisor made"):
        pool.load(world.folders())
    assert world.lvm.volumes == before


def test_a_kept_volume_that_is_gone_is_told_before_anything_is_removed(world: World) -> None:
    pool = world.make()
    pool.save(world.folders())
    pool.clear([world.folders()["se-disk"]])
    before = world.lvm.volumes
    with pytest.raises(GridvisorError, match=r"was kept for 'site\.kiam/se-data', is not there any more"):
        pool.load(world.folders())
    assert world.lvm.volumes == before


def test_a_folder_of_another_volume_is_refused_whatever_it_says(world: World) -> None:
    pool = world.make()
    pool.save(world.folders())
    disk, data = (world.folders()[name] / "volume.json" for name in NAMES)
    disk.write_text(data.read_text())
    with pytest.raises(Refused, match=r"kept of the volume 'se-data', which 'site\.kiam/se-disk' must not become"):
        pool.load(world.folders())
    disk.write_text(json.dumps({**json.loads(data.read_text()), "name": "se-disk"}))
    with pytest.raises(Refused, match="must not become"):
        pool.load(world.folders())


def test_too_little_room_is_told_with_the_sum(world: World) -> None:
    pool = world.make()
    world.lvm.set_free(12 * MIB)
    if world.pool._look().pooled:
        with pytest.raises(Refused, match=r"thin pool 'vg0/thin' of 'local' has 12 MiB free, .* 64 MiB") as refused:
            pool.saving(NAMES)
        assert "lvextend -L +1G vg0/thin" in (refused.value.hint or "")
        world.lvm.set_free(64 * MIB)
        pool.saving(NAMES)
        return
    assert pool.saving(NAMES) == Saving(12 * MIB, 12 * MIB)
    world.lvm.set_free(12 * MIB - 1)
    with pytest.raises(Refused, match=r"'/dev/sda' .* copies of 2 volumes take 12 MiB, .* are free"):
        pool.saving(NAMES)


def test_beside_a_thin_pool_a_volume_is_copied(thin: World) -> None:
    pool = thin.make()
    thin.lvm.add("site.kiam.old-data", "gridvisor", "gridvisor.group=site.kiam")
    thin.lvm.put("site.kiam.old-data", "first")
    assert pool.saving([*NAMES, "old-data"]).copied_bytes == MIB
    folder = thin.folder / "old"
    pool.save({"old-data": folder})
    thin.lvm.put("site.kiam.old-data", "second")
    pool.load({"old-data": folder})
    assert thin.lvm.volumes["site.kiam.old-data"]["content"] == "first"
