"""The protocol of a pool of volumes, and its record."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gridvisor.core.errors import Refused

NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,126}")  # lvm(8), "Valid names"


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as it was observed. `group` is the pool's name (a volume group's, on LVM).

    `path` is where its bytes are; with `backing`, they are the differences to that read-only image.
    `used_bytes` is what it takes on the disk, which is less than `size_bytes` while it is sparse.
    """

    group: str
    name: str
    path: Path
    size_bytes: int
    used_bytes: int
    backing: Path | None = None

    @property
    def label(self) -> str:
        """How users name it: 'group/name'."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, slots=True)
class Saving:
    """What `save` would take: bytes that are copied while nobody may write, and what is used beside the folders."""

    copied_bytes: int
    beside_bytes: int


@dataclass(frozen=True, slots=True)
class NewVolume:
    """A volume that is to be made: one that begins as a copy of `image`, or an empty one of `size_bytes`.

    With `label`, an empty one holds an ext4 of that label.
    """

    name: str
    image: Path | None = None
    size_bytes: int = 0
    label: str | None = None


class NoSuchVolume(Refused):
    """No volume of that name is in the pool."""

    def __init__(self, label: str) -> None:
        super().__init__(f"There is no volume '{label}'.", hint="gridvisor volume list")


class VolumePool(Protocol):
    """Volumes of one group. Names are those of LVM: letters, digits and `+ _ . -`."""

    def list(self) -> Sequence[Volume]:
        """All volumes of the group, by name."""

    def find(self, name: str) -> Volume | None:
        """The volume of that name, or None."""

    def create(self, name: str, size_bytes: int, *, label: str | None = None) -> Volume:
        """A new empty volume; with `label`, it holds an empty ext4 of that label. Raises Refused for a taken name."""

    def bring(self, image: Path) -> None:
        """Have `image` where the volumes are, so that clones of it need not wait for it."""

    def clone(self, name: str, image: Path) -> Volume:
        """A new volume that begins as a copy of `image`, which must not change as long as the volume is there."""

    def make(self, wanted: Sequence[NewVolume]) -> Sequence[Volume]:
        """The volumes of one machine, in one go where that is quicker; see `create` and `clone`."""

    def remove(self, name: str) -> None:
        """Remove a volume of ours; absent is fine, one that is not ours is Refused."""

    def path_of(self, name: str) -> Path:
        """Where the bytes of a volume of that name are, or would be."""

    def saving(self, names: Collection[str]) -> Saving:
        """What it takes to save these volumes. Raises Refused, with the sum, when it is known that there is no room."""

    def save(self, folders: Mapping[str, Path]) -> None:
        """Keep volumes as they are now, for each a new folder of this machine; nobody writes to them meanwhile.

        The folders may be renamed. When one cannot be kept, none is, and `clear` removes what is left.
        """

    def require_saved(self, folders: Mapping[str, Path]) -> None:
        """Raise what `load` would, changing nothing: GridvisorError when what was kept for a folder is not there."""

    def load(self, folders: Mapping[str, Path]) -> None:
        """Make volumes what `save` has kept for these folders; what they were is gone. Nobody may have them open.

        May be killed and called again. Refused when another volume was kept for one of the folders.
        """

    def clear(self, folders: Collection[Path]) -> None:
        """Remove what the group has of saved volumes outside of folders, but for those of these folders."""


def checked_name(name: str) -> str:
    """`name`, if a volume or a group may be called so. Raises Refused for one that could be a path or an option."""
    if not NAME.fullmatch(name):
        raise Refused(f"'{name}' is not a name for a volume or a group: letters, digits and '+ _ . -' are.")
    return name


def made_singly(pool: VolumePool, wanted: Sequence[NewVolume]) -> Sequence[Volume]:
    """What `make` does where nothing is gained by making volumes together."""
    return tuple(
        pool.create(one.name, one.size_bytes, label=one.label) if one.image is None else pool.clone(one.name, one.image)
        for one in wanted
    )
