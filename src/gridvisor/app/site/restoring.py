"""The mark of a site whose snapshot is being restored: until that has ended, its disks may be of two times."""

from __future__ import annotations

from pathlib import Path

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import Refused

RESTORING = "restoring"


def restored_from(folder: Path) -> str | None:
    """The snapshot from which the site with that folder is being restored, or was when that was broken off."""
    try:
        return (folder / RESTORING).read_text().strip()
    except FileNotFoundError:
        return None


def require_whole(deployment: Deployment) -> None:
    """Raise Refused for a site of which a restore was broken off."""
    name, site = restored_from(deployment.folder), deployment.site.site
    if name is not None:
        raise Refused(
            f"The restore of '{site}' from its snapshot '{name}' was broken off.",
            hint=f"gridvisor snapshot restore {site} {name}",
        )
