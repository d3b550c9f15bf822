"""Where gridvisor keeps its files. Nothing else in the package chooses a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Two roots: `cache` can be made again (images, kernel packs), `state` cannot (domains, volumes, keys)."""

    cache: Path
    state: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], *, uid: int) -> Places:
        """`GRIDVISOR_HOME` for both when it is set; /var for root; else the XDG base directories of the user."""
        if home := environ.get("GRIDVISOR_HOME"):
            return cls(Path(home).absolute() / "cache", Path(home).absolute() / "state")
        if uid == 0:
            return cls(Path("/var/cache/gridvisor"), Path("/var/lib/gridvisor"))
        user = Path(environ.get("HOME", "/"))
        cache = Path(environ.get("XDG_CACHE_HOME") or user / ".cache")
        state = Path(environ.get("XDG_STATE_HOME") or user / ".local" / "state")
        return cls(cache / "gridvisor", state / "gridvisor")

    @property
    def tag(self) -> str:
        """Six hex digits that mark kernel objects (namespaces, taps) as belonging to this `state` folder."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:6]
