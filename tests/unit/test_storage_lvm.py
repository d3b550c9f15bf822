"""What LVM says, as it was recorded."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fake_lvm import MIB, FakeLvm
from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.run.local import Local
from gridvisor.run.target import checked
from gridvisor.storage.lvm import LvmPool
from gridvisor.storage.placement import Spot
from gridvisor.storage.pool import NewVolume
from gridvisor.storage.volume_group import parse_lvs, parse_segments, parse_sizes

DATA = Path(__file__).parent.parent / "data" / "lvm"


def test_a_physical_volume_has_what_is_on_it_and_its_room_is_no_volume() -> None:
    said = (DATA / "pvs-segments-2.03.31.json").read_text()
    assert parse_segments(said) == (Spot("/dev/vdd", 88080384, ("[lvol0_pmspare]", "[thin_tdata]", "[thin_tmeta]")),)


@pytest.mark.parametrize("said", ["", "no json", "[]", '{"report": []}', '{"report": [{"pvseg": [{"pv_name": 1}]}]}'])
def test_what_cannot_be_read_is_told(said: str) -> None:
    with pytest.raises(ToolOutput, match="What pvs says cannot be read"):
        parse_segments(said)
    with pytest.raises(ToolOutput, match="What lvs says cannot be read"):
        parse_lvs(said)


def test_a_volume_has_the_size_of_its_origin_and_one_without_a_size_is_told() -> None:
    said = (DATA / "lvs-sizes-2.03.31.txt").read_text()
    assert parse_sizes(said, ["t5", "t4"]) == [256 << 20, 256 << 20]
    with pytest.raises(ToolOutput, match="lvs does not say how large 't6' is"):
        parse_sizes(said, ["t4", "t6"])


class Dom0:
    """A dom0 with the volume group vg0, empty and without a thin pool. A script that has the word `fails` in it does so
    as `said`."""

    name = "dom0"

    def __init__(self, *, fails: str, said: str) -> None:
        self._fails = fails
        self._said = said
        self.scripts: list[str] = []

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        body, *words = command.argv[2], *command.argv[4:]
        self.scripts.append(body.split()[0])
        if self._fails in body or any(self._fails in word for word in words):
            return checked(Result(command, 5, "", self._said, 0.0, self.name), check=check)
        said = '{"report": [{"lv": []}]}' if body.startswith("lvs") else ""
        if body.startswith("pvs"):
            said = (DATA / "pvs-segments-2.03.31.json").read_text()
        elif body.startswith("lvm"):
            said = re.sub(r".*-qyn (\S+).*", r"LVM2_LV_NAME='\1' LVM2_LV_SIZE='4194304' LVM2_ORIGIN_SIZE=''", words[0])
        return Result(command, 0, said, "", 0.0, self.name)


def _pool(tmp_path: Path, dom0: Dom0, *, filling: str = "") -> LvmPool:
    def fill(image: Path, device: str, *, is_empty: bool) -> None:
        if filling:
            raise CommandFailed(Result(Command(("dd",)), 1, "", filling, 0.0, "local"))

    return LvmPool(dom0, "vg0", "site.a", fill=fill, locks=tmp_path / "locks")  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ["lvcreate-full-2.03.31.txt", "lvcreate-full-pool-2.03.31.txt"])
def test_a_group_without_room_is_told_with_what_mends_it(said: str, tmp_path: Path) -> None:
    pool = _pool(tmp_path, Dom0(fails="lvcreate", said=(DATA / said).read_text()))
    with pytest.raises(
        Refused, match=r"The volume group 'vg0' of 'dom0' is full: .*(insufficient|out of data)"
    ) as full:
        pool.create("b", 1 << 20)
    assert "vgextend vg0" in (full.value.hint or "")


def test_what_was_just_seen_spares_a_look_at_a_group_with_one_spot(tmp_path: Path) -> None:
    dom0 = Dom0(fails="nothing", said="")
    pool = _pool(tmp_path, dom0)
    pool.list()
    assert pool.free_bytes() == 88080384
    pool.make([NewVolume("a-disk", size_bytes=MIB), NewVolume("a-swap", size_bytes=MIB)])
    assert dom0.scripts == ["lvs", "pvs", "lvm"]
    pool.create("a-data", MIB)
    assert dom0.scripts[3:] == ["lvs", "pvs", "lvm"], "what was seen is of before a change"
    pool.free_bytes()
    assert dom0.scripts[6:] == ["lvs", "pvs"]


def test_what_was_seen_too_long_ago_is_looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lvm = FakeLvm(tmp_path, thin=True)
    monkeypatch.setenv("PATH", f"{lvm.bin}:{os.environ['PATH']}")
    pool = LvmPool(Local(), "vg0", "vg0", fill=lvm.fill, locks=tmp_path / "locks")
    pool.list()
    lvm.add("a-disk")
    with pytest.raises(Refused, match="'vg0/a-disk' exists already, and gridvisor did not make it"):
        pool.create("a-disk", MIB)
    assert lvm.volumes["a-disk"]["tags"] == []
    image = tmp_path / "aa11/root.img"
    image.parent.mkdir()
    image.write_text("image")
    pool.clone("b-disk", image)
    pool.list()
    pool.remove("b-disk")
    pool.clone("b-disk", image)
    pool.list()
    pool.remove("b-disk")
    lvm.remove("gridvisor.image.aa11")
    pool.clone("c-disk", image)
    assert lvm.volumes["c-disk"]["content"] == "image"


def test_a_volume_that_cannot_be_finished_goes(tmp_path: Path) -> None:
    image = tmp_path / "aa11/root.img"
    image.parent.mkdir()
    image.write_bytes(bytes(512))
    dom0 = Dom0(fails="nothing", said="")
    with pytest.raises(Refused, match="is full: dd: error writing"):
        _pool(tmp_path, dom0, filling=(DATA / "dd-full-pool.txt").read_text()).bring(image)
    assert dom0.scripts[-1] == "lvremove"
    dom0 = Dom0(fails="mke2fs", said="mke2fs: no")
    with pytest.raises(CommandFailed, match="mke2fs: no"):
        _pool(tmp_path, dom0).create("b", 1 << 20, label="b")
    assert dom0.scripts[-1] == "lvremove"


def test_a_group_that_is_not_there_is_told_and_a_pool_that_is_not_is_something_else(tmp_path: Path) -> None:
    said = (DATA / "lvs-no-group-2.03.31.json").read_text().replace("nogroup", "vg0")
    with pytest.raises(Refused, match="'dom0' has no volume group 'vg0'"):
        _pool(tmp_path, Dom0(fails="lvs", said=said)).list()
    with pytest.raises(CommandFailed):  # by lvcreate 2.03.31
        _pool(tmp_path, Dom0(fails="lvcreate", said="  Pool thin not found in Volume group vg0.")).create("b", 1 << 20)


def test_commands_too_long_for_a_script_of_lvm_are_run_singly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lvm = FakeLvm(tmp_path, thin=True)
    monkeypatch.setenv("PATH", f"{lvm.bin}:{os.environ['PATH']}")
    pool = LvmPool(Local(), "vg0", "site.kiam", fill=lvm.fill, locks=tmp_path / "locks")
    image = tmp_path / ("x" * 200) / "aa11/root.img"
    image.parent.mkdir(parents=True)
    image.write_text("image")
    made = pool.make([NewVolume("a-disk", image), NewVolume("a-swap", size_bytes=MIB)])
    assert [one.name for one in made] == ["a-disk", "a-swap"]
    assert lvm.volumes["site.kiam.a-disk"]["content"] == "image"
    lvm.add("site.kiam.b-disk")
    with pytest.raises(CommandFailed, match="already exists"):
        pool._lvm([f"lvcreate -qyn site.kiam.b-disk {'--addtag x ' * 40} -V1 --thinpool thin vg0", "lvs vg0"])
