"""The random keys that services of one site share: munge's, for example."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.identity.kept import kept

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SECRET = re.compile(r"[0-9a-f]{64}\n")


@dataclass(frozen=True, slots=True)
class SiteSecrets:
    """The secrets whose files are in `folder`, each readable by its owner only."""

    folder: Path

    def get(self, name: str) -> str:
        """The site's secret of that name, 64 hex digits, made the first time; any number may ask at once."""
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r} cannot name a secret.", hint="use small letters, digits, '_' and '-'")
        path = self.folder / name

        def good(content: bytes) -> bool:
            if not _SECRET.fullmatch(content.decode("latin-1")):
                raise Refused(
                    f"'{path}' does not hold 64 hex digits.", hint=f"remove '{path}', and a new secret is made"
                )
            return True

        return kept(path, good, lambda _: f"{secrets.token_hex(32)}\n".encode()).decode().strip()
