"""From the disks of a configuration to volumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.app.volumes import (
    SWAP_BYTES,
    Pools,
    attach,
    missing_bytes,
    remove_volume,
    require_volumes,
    root_image_is_needed,
    users_of,
    volumes_there,
    wanted_volumes,
)
from gridvisor.core.errors import Refused, Unsupported
from gridvisor.core.places import Places
from gridvisor.domain.model import Disk, DiskFormat, Domain
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.image.store import Image
from gridvisor.monitor.fake import FakeMonitor
from gridvisor.monitor.protocol import Attachment, Guest, VolumeUse
from gridvisor.storage.files import FilePool
from gridvisor.storage.pool import NoSuchVolume

ROOT = Disk("/dev/vg0/vm1-disk", "xvda1")
SWAP = Disk("/dev/vg0/vm1-swap", "xvda2")
DATA = Disk("vg0/vm1-data", "xvdb", writable=False)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def pools(places: Places) -> Pools:
    return lambda group: FilePool(places, group)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    path = tmp_path / "cache" / "images" / "aa11" / "root.img"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 5000)
    return Image("aa11", "debian-13", "trixie", path, 5000, 5000, (), 1.0, NetworkStyle.NETWORKD, True)


def uses(domain: Domain) -> list[VolumeUse]:
    return [volume.use for volume in wanted_volumes(domain)]


def test_the_first_disk_is_the_root_and_a_name_tells_swap() -> None:
    assert uses(Domain("vm1", disks=(ROOT, SWAP, DATA))) == [VolumeUse.ROOT, VolumeUse.SWAP, VolumeUse.DATA]


@pytest.mark.parametrize("root", ["/dev/xvda1 ro", "xvda1", "/dev/xvda1"])
def test_the_root_is_the_one_that_the_configuration_names(root: str) -> None:
    assert uses(Domain("vm1", root=root, disks=(DATA, SWAP, ROOT))) == [
        VolumeUse.DATA,
        VolumeUse.SWAP,
        VolumeUse.ROOT,
    ]


def test_a_root_that_names_no_disk_means_the_first() -> None:
    assert uses(Domain("vm1", root="/dev/sda1", disks=(ROOT, SWAP)))[0] is VolumeUse.ROOT


def test_a_volume_is_known_by_group_and_name_however_it_is_written() -> None:
    for target in ("/dev/vg0/vm1-disk", "vg0/vm1-disk"):
        (volume,) = wanted_volumes(Domain("vm1", disks=(Disk(target, "xvda"),)))
        assert (volume.group, volume.name, volume.file) == ("vg0", "vm1-disk", None)


def test_a_file_of_the_users_is_a_swap_when_it_is_formatted_as_one(tmp_path: Path) -> None:
    swap, data = tmp_path / "swap.img", tmp_path / "data.img"
    swap.write_bytes(bytes(4086) + b"SWAPSPACE2" + bytes(100))
    data.write_bytes(bytes(8192))
    domain = Domain("vm1", disks=(ROOT, Disk(str(swap), "xvdb"), Disk(str(data), "xvdc")))
    assert uses(domain) == [VolumeUse.ROOT, VolumeUse.SWAP, VolumeUse.DATA]


def test_a_domain_without_a_disk_is_told_how_to_have_one() -> None:
    with pytest.raises(Refused, match="no disk to boot from") as refused:
        wanted_volumes(Domain("vm1"))
    assert "disk =" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("disk", "kind", "says"),
    [
        (Disk("vg0/a", "xvda", DiskFormat.QCOW2), Unsupported, "not 'qcow2'"),
        (Disk("a", "xvda"), Refused, "neither a file nor a volume"),
        (Disk("a/b/c", "xvda"), Refused, "neither a file nor a volume"),
        (Disk("/dev/sda", "xvda"), Refused, "sda"),
    ],
)
def test_a_disk_that_no_guest_can_have_is_refused(disk: Disk, kind: type[Refused], says: str) -> None:
    with pytest.raises(kind, match=says):
        wanted_volumes(Domain("vm1", disks=(disk,)))


def test_a_data_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"none\.img"):
        wanted_volumes(Domain("vm1", disks=(ROOT, Disk(str(tmp_path / "none.img"), "xvdb"))))


@pytest.mark.parametrize("target", ["../x", "vg0/..", "/dev/../x", "-a/b"])
def test_a_name_that_is_a_path_makes_no_volume(places: Places, pools: Pools, image: Image, target: str) -> None:
    wanted = wanted_volumes(Domain("vm1", disks=(Disk(target, "xvda"),)))
    with pytest.raises(Refused):
        attach(wanted, {}, pools, image)
    assert not (places.state / "volumes").exists()


def test_what_is_missing_is_made_and_then_found_again(places: Places, pools: Pools, image: Image) -> None:
    wanted = wanted_volumes(Domain("vm1", disks=(ROOT, SWAP)))
    assert root_image_is_needed(wanted, volumes_there(wanted, pools))
    assert missing_bytes(wanted, volumes_there(wanted, pools), 5000) == 5000 + SWAP_BYTES
    made = attach(wanted, volumes_there(wanted, pools), pools, image)
    assert [(one.use, one.writable, one.backing) for one in made] == [
        (VolumeUse.ROOT, True, image.path),
        (VolumeUse.SWAP, True, None),
    ]
    assert made[1].path.stat().st_size == SWAP_BYTES
    assert not root_image_is_needed(wanted, volumes_there(wanted, pools))
    assert missing_bytes(wanted, volumes_there(wanted, pools), 5000) == 0
    assert attach(wanted, volumes_there(wanted, pools), pools, None) == made


def test_a_data_volume_is_used_as_it_is_and_never_made(places: Places, pools: Pools, image: Image) -> None:
    wanted = wanted_volumes(Domain("vm1", disks=(ROOT, DATA)))
    with pytest.raises(Refused, match="no volume 'vg0/vm1-data'") as refused:
        require_volumes(wanted, volumes_there(wanted, pools))
    assert "gridvisor volume create vg0/vm1-data" in (refused.value.hint or "")
    FilePool(places, "vg0").create("vm1-data", 100)
    assert not attach(wanted, volumes_there(wanted, pools), pools, image)[1].writable


def test_a_new_root_without_an_image_is_refused(places: Places, pools: Pools) -> None:
    with pytest.raises(Refused, match="no image"):
        attach(wanted_volumes(Domain("vm1", disks=(ROOT,))), {}, pools, None)


def test_a_root_file_has_to_be_a_file_system(places: Places, pools: Pools, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(bytes(257) + b"ustar" + bytes(5000))
    wanted = wanted_volumes(Domain("vm1", disks=(Disk(str(file), "xvda"),)))
    assert not root_image_is_needed(wanted, volumes_there(wanted, pools))
    with pytest.raises(Refused, match="tar archive"):
        require_volumes(wanted, volumes_there(wanted, pools))


def test_a_volume_in_use_is_not_removed(places: Places, pools: Pools, tmp_path: Path) -> None:
    volume = FilePool(places, "vg0").create("a", 100)
    monitor = FakeMonitor(tmp_path)
    monitor.create(Guest(Domain("vm1"), (Attachment(VolumeUse.ROOT, volume.path, True),)))
    assert users_of(monitor) == {volume.path: "vm1"}
    with pytest.raises(Refused, match=r"'vm1' uses 'vg0/a'"):
        remove_volume(pools, monitor, "vg0/a")
    monitor.crash("vm1")
    assert users_of(monitor) == {}, "a crashed domain uses nothing any more"
    remove_volume(pools, monitor, "vg0/a")
    with pytest.raises(NoSuchVolume, match="vg0/a"):
        remove_volume(pools, monitor, "vg0/a")


def test_a_device_of_lvm_is_a_volume_where_volumes_are_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_block_device", lambda path: True)
    domain = Domain("vm1", disks=(Disk("/dev/vg0/vm1-disk", "xvda"),))
    with pytest.raises(Unsupported, match="UML guests get volumes and files"):
        wanted_volumes(domain)
    (volume,) = wanted_volumes(domain, lvm=True)
    assert (volume.group, volume.name, volume.file) == ("vg0", "vm1-disk", None)
