"""Volumes of LVM in the dom0 of the box: what is in them, whose they are, and days that are bad."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridvisor.app.box import box_of
from gridvisor.app.host import Host
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.run.command import script
from gridvisor.run.ssh import Ssh
from gridvisor.storage.filling import Fill, filling
from gridvisor.storage.lvm import LvmPool
from home import Home

pytestmark = pytest.mark.box

MIB = 1 << 20


@pytest.fixture
def dom0(box: Home) -> Ssh:
    return box_of(Host(box.places, Bus())).dom0


@pytest.fixture(params=["through ssh", "lent as a disk"])
def fill(request: pytest.FixtureRequest, box: Home, dom0: Ssh) -> Fill:
    return filling(dom0) if request.param == "through ssh" else box_of(Host(box.places, Bus())).fill


@pytest.fixture
def pool(dom0: Ssh, fill: Fill, tmp_path: Path) -> Iterator[LvmPool]:
    pool = LvmPool(dom0, "vg0", "site.two", fill=fill, locks=tmp_path / "locks")
    yield pool
    for volume in pool.list():
        pool.remove(volume.name)


def image_of(folder: Path, content: bytes) -> Path:
    path = folder / hashlib.sha256(str(folder).encode() + content).hexdigest()[:16] / "root.img"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def content_of(dom0: Ssh, device: Path) -> str:
    return dom0.run(script('sha256sum <"$1"', str(device)), timeout_s=60).stdout.split()[0]


def lvs(dom0: Ssh) -> str:
    return dom0.run(script("lvs --noheadings -o lv_name vg0"), timeout_s=60).stdout


def test_a_clone_has_the_images_bytes_and_what_is_written_to_it_is_its_own(
    pool: LvmPool, dom0: Ssh, tmp_path: Path
) -> None:
    content = b"x" * MIB + bytes(2 * MIB) + b"y" * MIB
    image = image_of(tmp_path, content)
    one, two = pool.clone("one", image), pool.clone("two", image)
    want = hashlib.sha256(content).hexdigest()
    assert [content_of(dom0, volume.path) for volume in (one, two)] == [want, want]
    dom0.run(script('printf mine | dd of="$1" conv=notrunc,fsync status=none', str(one.path)), timeout_s=60)
    assert content_of(dom0, one.path) != want
    assert [content_of(dom0, pool.clone(name, image).path) for name in ("three",)] == [want]
    assert content_of(dom0, two.path) == want


def test_nothing_without_our_mark_is_removed(pool: LvmPool, dom0: Ssh) -> None:
    dom0.run(script("lvcreate -q --yes -V 8M --thinpool thin -n site.two.theirs vg0 >&2"), timeout_s=60)
    try:
        assert pool.find("theirs") is None
        with pytest.raises(Refused, match="left alone"):
            pool.remove("theirs")
        with pytest.raises(Refused, match="exists"):
            pool.create("theirs", 8 * MIB)
        assert "site.two.theirs" in lvs(dom0)
    finally:
        dom0.run(script("lvremove -q --yes vg0/site.two.theirs >&2"), timeout_s=60)


def test_what_a_killed_run_left_half_made_is_made_anew(pool: LvmPool, dom0: Ssh, tmp_path: Path) -> None:
    image = image_of(tmp_path, b"z" * 4 * MIB)
    golden = f"gridvisor.image.{image.parent.name}"
    for name in (golden, "site.two.data"):
        source = 'lvcreate -q --yes -V 4M --thinpool thin --addtag gridvisor.making -n "$1" vg0 >&2'
        dom0.run(script(source, name), timeout_s=60)
    assert pool.list() == ()
    assert content_of(dom0, pool.clone("one", image).path) == hashlib.sha256(image.read_bytes()).hexdigest()
    assert pool.create("data", 8 * MIB, label="data").size_bytes == 8 * MIB
    assert dom0.run(script('blkid -o value -s LABEL "$1"', str(pool.path_of("data"))), timeout_s=60).stdout == "data\n"


def test_a_full_group_and_a_missing_one_are_told(dom0: Ssh, fill: Fill, tmp_path: Path) -> None:
    missing = LvmPool(dom0, "nogroup", "nogroup", fill=fill, locks=tmp_path)
    with pytest.raises(Refused, match="no volume group 'nogroup'"):
        missing.list()


TWO_DISKS = """\
for disk in a b; do
    truncate -s 256M /root/vg2$disk.img
    set -- "$@" "$(losetup --find --show /root/vg2$disk.img)"
done
vgcreate -q vg2 "$@" >&2
[ -z "$pooled" ] || for disk; do
    lvcreate -q --type thin-pool --size 160M --name "thin-${disk##*/}" vg2 "$disk" >&2
done
"""
NO_DISKS = """\
vgremove -q --yes --force vg2 >&2 || :
losetup --associated /root/vg2a.img --noheadings --output NAME | xargs -r losetup --detach
losetup --associated /root/vg2b.img --noheadings --output NAME | xargs -r losetup --detach
rm -f /root/vg2a.img /root/vg2b.img
"""


@pytest.fixture(params=["", "yes"], ids=["physical volumes", "thin pools"])
def two_disks(request: pytest.FixtureRequest, dom0: Ssh, tmp_path: Path) -> Iterator[LvmPool]:
    """A volume group on two disks, with a thin pool on each or with none."""
    dom0.run(script(NO_DISKS), timeout_s=60)
    dom0.run(script(f"pooled={request.param}\n{TWO_DISKS}"), timeout_s=60)
    yield LvmPool(dom0, "vg2", "site.two", fill=filling(dom0), locks=tmp_path / "locks")
    dom0.run(script(NO_DISKS), timeout_s=60)


def test_machines_are_spread_over_disks_and_their_volumes_are_not(
    two_disks: LvmPool, dom0: Ssh, tmp_path: Path
) -> None:
    content = b"x" * MIB + bytes(2 * MIB) + b"y" * MIB
    image = image_of(tmp_path, content)
    two_disks.bring(image)

    def boot(machine: str) -> None:
        two_disks.clone(f"{machine}-disk", image)
        two_disks.create(f"{machine}-data", 8 * MIB)

    with ThreadPoolExecutor() as threads:
        list(threads.map(boot, ("ui", "ce", "se", "mon")))
    said = dom0.run(script("lvs --noheadings --separator , -o lv_name,pool_lv,devices vg2"), timeout_s=60).stdout
    where = {row[0]: row[1] or row[2].partition("(")[0] for row in (line.strip().split(",") for line in said.split())}
    disks = {name: where[f"site.two.{name}-disk"] for name in ("ui", "ce", "se", "mon")}
    assert {name: where[f"site.two.{name}-data"] for name in disks} == disks
    assert sorted(Counter(disks.values()).values()) == [2, 2]
    want = hashlib.sha256(content).hexdigest()
    assert {content_of(dom0, two_disks.path_of(f"{name}-disk")) for name in disks} == {want}


@pytest.mark.parametrize("two_disks", [""], ids=["physical volumes"], indirect=True)
def test_what_fits_on_no_disk_is_refused_and_takes_nothing(two_disks: LvmPool) -> None:
    free = two_disks.free_bytes()
    with pytest.raises(Refused, match="is full"):
        two_disks.create("big-data", 400 * MIB)
    assert two_disks.free_bytes() == free
