"""Disks' strings, as xl-disk-configuration(5) has them, and each way to get one wrong."""

from __future__ import annotations

import pytest

from gridvisor.core.errors import Refused
from gridvisor.domain.disk import parse_disk, render_disk
from gridvisor.domain.model import Disk, DiskFormat
from gridvisor.domain.parameters import Malformed

VOLUME = Disk("/dev/vg/guest-volume", "hda")
CDROM = Disk("/root/image.iso", "hdc", writable=False, cdrom=True)


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("/dev/vg/guest-volume,,hda", VOLUME),
        ("/dev/vg/guest-volume,raw,hda,rw", VOLUME),
        ("format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume", VOLUME),
        ("raw:/dev/vg/guest-volume,hda,w", VOLUME),
        ("phy:vg/guest-volume,/dev/hda,w!", VOLUME),
        ("vdev=hda,/dev/vg/guest-volume", VOLUME),
        ("/root/image.iso,,hdc,cdrom", CDROM),
        ("/root/image.iso,,hdc,,cdrom", CDROM),
        ("/root/image.iso,raw,hdc,devtype=cdrom", CDROM),
        ("format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso", CDROM),
        ("raw:/root/image.iso,hdc:cdrom,ro", CDROM),
        (",,hdc:cdrom,r", Disk("", "hdc", writable=False, cdrom=True)),
        (",empty,hdc,devtype=cdrom", Disk("", "hdc", writable=False, cdrom=True)),
        ("file:swap.img,sda2,r", Disk("swap.img", "sda2", writable=False)),
        ("tap:aio:/srv/a.img,xvda,w", Disk("/srv/a.img", "xvda")),
        ("tap2:qcow2:/srv/a.img,xvda,w", Disk("/srv/a.img", "xvda", DiskFormat.QCOW2)),
        ("drbd:r0,xvda,w", Disk("r0", "xvda", script="block-drbd")),
        (
            "a,qed,d0p1,backend=store,script=block-x",
            Disk("a", "d0p1", DiskFormat.QED, backend="store", script="block-x"),
        ),
        ("a,,xvda,discard,backendtype=tap", Disk("a", "xvda", options=("discard", "backendtype=tap"))),
        ("vdev=xvda,target=a,b=c ,,", Disk("a,b=c ,", "xvda")),
        (" /a b , raw , xvda , r ", Disk("/a b", "xvda", writable=False)),
    ],
)
def test_parse_and_back(text: str, disk: Disk) -> None:
    assert parse_disk(text) == disk
    assert parse_disk(render_disk(disk)) == disk


@pytest.mark.parametrize(
    ("text", "offset", "says"),
    [
        ("", 0, "no name for the guest"),
        ("/dev/x", 6, "no name for the guest"),
        ("phy:/dev/x,,w", 11, "'' is not a name of a guest's disk"),
        (",raw,xvda,rw", 0, "no target"),
        ("phy:,xvda,w", 4, "no target"),
        ("/dev/x,xvda,w", 7, "the format 'xvda' is not known"),
        ("/dev/x,raw,xvda,rx", 16, "the access 'rx' is not known"),
        ("/dev/x,raw,xvda,w,more", 18, "'more' is one parameter too many"),
        ("/dev/x,raw,../a,w", 11, "'../a' is not a name"),
        ("/dev/x,raw,xvda:floppy", 11, "'floppy' is not a type"),
        ("/dev/x,empty,xvda", 7, "goes with no target"),
        ("/dev/x,raw,xvda,vdev=xvdb", 16, "'vdev' is given twice"),
        ("/dev/x,raw,xvda,devtype=tape", 24, "devtype 'tape' is not known"),
        ("/dev/x,raw,xvda,colour=red", 16, "no parameter 'colour'"),
        ("scsi:/dev/x,xvda,w", 0, "the prefix 'scsi:' is not known"),
        ("/dev/x\n,raw,xvda", 6, "control character U+000A"),
    ],
)
def test_malformed(text: str, offset: int, says: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_disk(text)
    assert says in caught.value.text
    assert caught.value.offset == offset


def test_what_a_string_cannot_say_is_refused() -> None:
    with pytest.raises(Refused, match="a comma"):
        render_disk(Disk("/dev/x", "xvda", script="a,b"))
