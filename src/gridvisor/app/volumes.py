"""From the disks of a configuration file to volumes: which there are, which are to be made, and what of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gridvisor.core.errors import Refused, Unsupported
from gridvisor.domain.model import Disk, DiskFormat, Domain
from gridvisor.image.inspect import require_ext4
from gridvisor.image.store import Image
from gridvisor.monitor.protocol import Attachment, Monitor, State, VolumeUse
from gridvisor.storage.pool import NewVolume, NoSuchVolume, Volume, VolumePool

SWAP_BYTES = 256 << 20  # a swap volume that the configuration names and nobody has made yet

Pools = Callable[[str], VolumePool]
"""The pool of a group."""
There = Mapping[str, Volume]
"""The volumes that are there, by their labels."""

_LOGICAL_VOLUME = re.compile(r"(?:/dev/)?(?P<group>[^/]+)/(?P<name>[^/]+)")
_SWAP_SIGNATURE = (b"SWAPSPACE2", 4096 - 10)  # mkswap(8): at the end of the first page


@dataclass(frozen=True, slots=True)
class WantedVolume:
    """A disk of a domain: what it is for, and where its bytes are, in a pool or in a `file` of the user's."""

    disk: Disk
    use: VolumeUse
    group: str | None = None
    name: str | None = None
    file: Path | None = None

    @property
    def label(self) -> str:
        """How users name it, if it is a volume of a pool: 'group/name'."""
        return f"{self.group}/{self.name}"


def wanted_volumes(domain: Domain, *, lvm: bool = False) -> tuple[WantedVolume, ...]:
    """What each disk of `domain` is for, in their order; the first one is the root when `root` names none of them.

    With `lvm`, a logical volume is one of the host's pools; else it is a device, which UML guests cannot have. Raises
    Refused or Unsupported for a disk that no guest can have.
    """
    if not domain.disks:
        raise Refused(
            f"The domain '{domain.name}' has no disk to boot from.", hint="add: disk = ['phy:vg0/NAME-disk,xvda1,w']"
        )
    root_vdev = PurePosixPath((domain.root or "").split()[0]).name if domain.root else ""
    at = next((index for index, disk in enumerate(domain.disks) if disk.vdev == root_vdev), 0)
    return tuple(_wanted(disk, is_root=index == at, lvm=lvm) for index, disk in enumerate(domain.disks))


def _wanted(disk: Disk, *, is_root: bool, lvm: bool) -> WantedVolume:
    if disk.format is not DiskFormat.RAW:
        raise Unsupported(
            f"Disk '{disk.vdev}': this monitor reads raw disks, not '{disk.format}'.", hint="qemu-img convert -O raw"
        )
    file = Path(disk.target)
    if file.is_absolute() and not disk.target.startswith("/dev/"):
        return WantedVolume(disk, VolumeUse.ROOT if is_root else _use_of_file(file), file=file)
    if file.is_block_device() and not lvm:
        raise Unsupported(
            f"Disk '{disk.vdev}': '{file}' is a device of this machine; UML guests get volumes and files."
        )
    match = _LOGICAL_VOLUME.fullmatch(disk.target)
    if match is None:
        raise Refused(f"Disk '{disk.vdev}': '{disk.target}' names neither a file nor a volume 'group/name'.")
    use = VolumeUse.SWAP if match["name"].endswith("-swap") else VolumeUse.DATA
    return WantedVolume(disk, VolumeUse.ROOT if is_root else use, match["group"], match["name"])


def _use_of_file(file: Path) -> VolumeUse:
    signature, offset = _SWAP_SIGNATURE
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            return VolumeUse.SWAP if opened.read(len(signature)) == signature else VolumeUse.DATA
    except OSError as error:
        raise Refused(f"'{file}' cannot be read as a disk: {error.strerror}.") from error


def volumes_there(wanted: Sequence[WantedVolume], pools: Pools) -> There:
    """What is there in the pools of these volumes. Each is looked at once: on LVM of an emulated host it takes a
    second."""
    groups = sorted({volume.group for volume in wanted if volume.group})
    return {volume.label: volume for group in groups for volume in pools(group).list()}


def missing_bytes(wanted: Sequence[WantedVolume], there: There, image_bytes: int) -> int:
    """How large the volumes that are to be made can grow."""
    missing = [volume for volume in wanted if volume.file is None and volume.label not in there]
    return sum(image_bytes if volume.use is VolumeUse.ROOT else SWAP_BYTES for volume in missing)


def require_volumes(wanted: Sequence[WantedVolume], there: There) -> None:
    """Raise Refused unless each volume is there, or is one that can be made, and a root in a file is an ext4.

    A missing data volume is none of those: nobody knows how large it should be.
    """
    for volume in wanted:
        if volume.file is None:
            _require(volume, there)
        elif volume.use is VolumeUse.ROOT:
            require_ext4(volume.file)


def _require(wanted: WantedVolume, there: There) -> None:
    if wanted.use is VolumeUse.DATA and wanted.label not in there:
        raise Refused(f"There is no volume '{wanted.label}'.", hint=f"gridvisor volume create {wanted.label} 2GiB")


def attach(wanted: Sequence[WantedVolume], there: There, pools: Pools, image: Image | None) -> tuple[Attachment, ...]:
    """The volumes, made where they are missing: the root as a clone of `image`, swap empty."""
    require_volumes(wanted, there)
    missing: dict[str, list[NewVolume]] = {}
    for volume in wanted:
        if volume.file is None and volume.label not in there:
            missing.setdefault(volume.group or "", []).append(_new(volume, image))
    made = {volume.label: volume for group, new in missing.items() for volume in pools(group).make(new)}
    return tuple(_attachment(volume, {**there, **made}) for volume in wanted)


def _new(wanted: WantedVolume, image: Image | None) -> NewVolume:
    if wanted.use is VolumeUse.SWAP:
        return NewVolume(wanted.name or "", size_bytes=SWAP_BYTES)
    return NewVolume(wanted.name or "", _needed(image))


def _attachment(wanted: WantedVolume, there: There) -> Attachment:
    if wanted.file is not None:
        return Attachment(wanted.use, wanted.file, wanted.disk.writable)
    volume = there[wanted.label]
    # A clone is always written to, if only by UML when it makes the file; the guest's own mount obeys the mode.
    writable = wanted.disk.writable or volume.backing is not None
    return Attachment(wanted.use, volume.path, writable, volume.backing)


def root_image_is_needed(wanted: Sequence[WantedVolume], there: There) -> bool:
    """True when the root volume is to be made, so that an image must be there to clone."""
    return any(volume.use is VolumeUse.ROOT and volume.file is None and volume.label not in there for volume in wanted)


def users_of(monitor: Monitor) -> dict[Path, str]:
    """Which live domain uses which file as a disk."""
    return {
        volume.path: row.name
        for row, guest in monitor.guests()
        if row.state is not State.CRASHED
        for volume in guest.volumes
    }


def remove_volume(pools: Pools, monitor: Monitor, label: str) -> None:
    """Remove a volume of our pools. Raises NoSuchVolume, or Refused while a domain uses it."""
    pool, name = pools(label.partition("/")[0]), label.partition("/")[2]
    volume = pool.find(name)
    if volume is None:
        raise NoSuchVolume(label)
    if user := users_of(monitor).get(volume.path):
        raise Refused(f"The domain '{user}' uses '{label}'.", hint=f"gridvisor domain shutdown --wait {user}")
    pool.remove(name)


def _needed(image: Image | None) -> Path:
    if image is None:
        raise Refused("The root volume is not there, and no image was given to make it of.", hint="--image NAME")
    return image.path
