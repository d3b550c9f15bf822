"""A pool that only remembers, for tests of what stands above it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.storage.pool import NewVolume, Saving, Volume, checked_name, made_singly


class FakePool:
    """See storage.pool.VolumePool. Its volumes lie in `folder` by name alone: no file is made."""

    def __init__(self, folder: Path, group: str) -> None:
        self._group = checked_name(group)
        self._folder = folder
        self._volumes: dict[str, Volume] = {}
        self._saved: list[Volume] = []

    def list(self) -> Sequence[Volume]:
        """See VolumePool.list."""
        return tuple(self._volumes[name] for name in sorted(self._volumes))

    def find(self, name: str) -> Volume | None:
        """See VolumePool.find."""
        return self._volumes.get(checked_name(name))

    def create(self, name: str, size_bytes: int, *, label: str | None = None) -> Volume:
        """See VolumePool.create."""
        return self._put(name, size_bytes, None)

    def bring(self, image: Path) -> None:
        """See VolumePool.bring."""

    def clone(self, name: str, image: Path) -> Volume:
        """See VolumePool.clone."""
        return self._put(name, image.stat().st_size, image)

    def make(self, wanted: Sequence[NewVolume]) -> Sequence[Volume]:
        """See VolumePool.make."""
        return made_singly(self, wanted)

    def remove(self, name: str) -> None:
        """See VolumePool.remove."""
        self._volumes.pop(checked_name(name), None)

    def path_of(self, name: str) -> Path:
        """See VolumePool.path_of."""
        return self._folder / self._group / name

    def saving(self, names: Collection[str]) -> Saving:
        """See VolumePool.saving."""
        return Saving(0, 0)

    def save(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.save."""
        for name, folder in folders.items():
            folder.mkdir()
            (folder / "volume.json").write_text(json.dumps({"name": name, "number": len(self._saved)}))
            self._saved.append(self._volumes[name])

    def require_saved(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.require_saved."""
        for name, folder in folders.items():
            self._saved_for(name, folder)

    def load(self, folders: Mapping[str, Path]) -> None:
        """See VolumePool.load."""
        for name, folder in folders.items():
            self._volumes[name] = self._saved_for(name, folder)

    def clear(self, folders: Collection[Path]) -> None:
        """See VolumePool.clear."""

    def _saved_for(self, name: str, folder: Path) -> Volume:
        if not folder.exists():
            raise GridvisorError(f"What was kept for '{name}' is not there any more.")
        saved: Volume = self._saved[json.loads((folder / "volume.json").read_text())["number"]]
        if saved.name != name:
            raise Refused(f"'{folder}' has the volume '{saved.name}', which '{name}' must not become.")
        return saved

    def _put(self, name: str, size_bytes: int, backing: Path | None) -> Volume:
        if self.find(name) is not None:
            raise Refused(f"A volume '{self._group}/{name}' exists already.", hint="gridvisor volume list")
        volume = Volume(self._group, name, self.path_of(name), size_bytes, 0, backing)
        self._volumes[name] = volume
        return volume
