"""The images that are there: one folder each, whole or not at all. Nothing else remembers them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.core.files import is_locked, write_whole
from gridvisor.core.places import Places
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.package.apt import PackageVersion

DEBS_KEPT_DAYS = 30
_DISK = "root.img"
_RECORD = "image.json"
_BUILD = ".build-"


@dataclass(frozen=True, slots=True)
class Image:
    """A root filesystem in the store. It never changes: volumes are copy-on-write files over `path`.

    `used_bytes` is what it takes on the disk, less than `size_bytes` as it is sparse; `built_at` is in seconds since
    the epoch; `recipe` is the id of what it was made by, whatever the versions of its packages.
    """

    id: str
    name: str
    suite: str
    path: Path
    size_bytes: int
    used_bytes: int
    packages: tuple[PackageVersion, ...]
    built_at: float
    network: NetworkStyle | None
    has_init: bool
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class Freed:
    """What a clean-up took away: ids of images, and bytes on the disk in all."""

    removed: tuple[str, ...]
    freed_bytes: int


class ImageStore:
    """Images below `places.cache`. Removing one takes the ids that are `in_use` as backing files of volumes."""

    def __init__(self, places: Places) -> None:
        self.root = places.cache / "images"
        self.debs = places.cache / "debs"
        self.bases = self.root / ".bases"
        self._locks = self.root / ".locks"

    def list(self) -> tuple[Image, ...]:
        """All finished images, by name, the newest of each name first."""
        records = (record_of(folder) for folder in self._folders("[!.]*"))
        return tuple(sorted((one for one in records if one), key=lambda one: (one.name, -one.built_at)))

    def find(self, name_or_id: str) -> Image:
        """The newest image of that name, or the one whose id begins so.

        Raises Refused when there is none, or when several ids begin so.
        """
        images = self.list()
        for image in images:
            if name_or_id in (image.name, image.id):
                return image
        begun = [image for image in images if name_or_id and image.id.startswith(name_or_id)]
        if len(begun) > 1:
            raise Refused(
                f"'{name_or_id}' may be any of the images {', '.join(image.id for image in begun)}.",
                hint="give more digits of the id",
            )
        if not begun:
            known = ", ".join(dict.fromkeys(image.name for image in images)) or "none yet"
            raise Refused(
                f"There is no image '{name_or_id}'. There is: {known}.",
                hint="gridvisor image build, gridvisor image list",
            )
        return begun[0]

    def made_by(self, recipe: str) -> Image | None:
        """The newest image of the recipe with that id, None when there is none."""
        return next((image for image in self.list() if image.recipe == recipe), None)

    def get(self, image_id: str) -> Image | None:
        """The image of exactly that id, None when it is not there."""
        return record_of(self.root / image_id)

    def remove(self, image: Image, *, in_use: frozenset[str]) -> None:
        """Remove `image`; Refused when it is in use."""
        if image.id in in_use:
            raise Refused(
                f"The image '{image.name}' ({image.id}) is what volumes are copies of.",
                hint="gridvisor volume list says which; remove them first",
            )
        self._drop(self.root / image.id)

    def gc(self, in_use: frozenset[str]) -> Freed:
        """Remove every image that is neither in use nor the newest of its name, leftovers of dead builds, and
        package files that no build has touched for DEBS_KEPT_DAYS."""
        newest: dict[str, str] = {}
        for image in self.list():
            newest.setdefault(image.name, image.id)
        old = [image for image in self.list() if image.id not in in_use and newest[image.name] != image.id]
        for image in old:
            self.remove(image, in_use=in_use)
        freed_bytes = sum(image.used_bytes for image in old) + self.clear_dead_builds() + self._clear_old_debs()
        return Freed(tuple(image.id for image in old), freed_bytes)

    def lock_path(self, image_id: str) -> Path:
        """The lock that whoever builds `image_id` holds, from before its first file until after the last."""
        return self._locks / image_id

    def new_build_folder(self, image_id: str) -> Path:
        """An empty folder to build in, on the store's filesystem. Call with the lock of `image_id` held."""
        folder = self.root / f"{_BUILD}{image_id}-{time.time_ns():x}"
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def clear_dead_builds(self, image_id: str = "*") -> int:
        """Bytes that were freed by removing what killed builds (of `image_id`, while its lock is held) left."""
        freed_bytes = 0
        # Listed before the locks are looked at: a folder of a living build was made under a lock that is still held.
        for folder in list(self._folders(f"{_BUILD}{image_id}-*")):
            built = folder.name.removeprefix(_BUILD).rpartition("-")[0]
            if image_id != "*" or not is_locked(self.lock_path(built)):
                freed_bytes += _used_bytes(folder)
                self._drop(folder)
        return freed_bytes

    def publish(self, build: Path, image: Image) -> Image:
        """Make the finished `build` folder, which holds root.img, the image that it will be found as."""
        (build / _DISK).chmod(0o444)
        record = {key: value for key, value in asdict(image).items() if key != "path"}
        write_whole(build / _RECORD, json.dumps(record, indent=1))
        build.chmod(0o755)
        build.replace(self.root / image.id)
        return image

    def disk_of(self, image_id: str) -> Path:
        """Where the filesystem of that image is or will be."""
        return self.root / image_id / _DISK

    def _folders(self, pattern: str) -> Sequence[Path]:
        return sorted(path for path in self.root.glob(pattern) if path.is_dir())

    def _drop(self, folder: Path) -> None:
        # Renamed first: a removal that is killed half-way leaves no folder that looks like an image.
        if not folder.name.startswith(_BUILD):
            dead = self.root / f"{_BUILD}{folder.name}-{time.time_ns():x}"
            with suppress(FileNotFoundError):
                folder.replace(dead)
            folder = dead
        shutil.rmtree(folder, ignore_errors=True)

    def _clear_old_debs(self) -> int:
        freed_bytes = 0
        for deb in self.debs.glob("*.deb"):
            with suppress(FileNotFoundError):
                seen = deb.stat()
                if time.time() - seen.st_mtime > DEBS_KEPT_DAYS * 86400:
                    deb.unlink()
                    freed_bytes += seen.st_size
        return freed_bytes


def record_of(folder: Path) -> Image | None:
    """The image in `folder`; None when it holds none."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        return Image(
            id=record["id"],
            name=record["name"],
            suite=record["suite"],
            path=folder / _DISK,
            size_bytes=record["size_bytes"],
            used_bytes=record["used_bytes"],
            packages=tuple(PackageVersion(**one) for one in record["packages"]),
            built_at=record["built_at"],
            network=NetworkStyle(record["network"]) if record["network"] else None,
            has_init=record["has_init"],
            recipe=record.get("recipe", ""),
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _used_bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):  # passes over what goes meanwhile
        for name in names:
            with suppress(OSError):
                total += Path(root, name).lstat().st_blocks * 512
    return total
