"""The mark of a site whose snapshot is being restored: until that has ended, its disks may be of two times."""

from __future__ import annotations

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import Refused

RESTORING = "restoring"


def require_whole(deployment: Deployment) -> None:
    """Raise Refused for a site of which a restore was broken off."""
    mark = deployment.folder / RESTORING
    if mark.exists():
        name, site = mark.read_text().strip(), deployment.site.site
        raise Refused(
            f"The restore of '{site}' from its snapshot '{name}' was broken off.",
            hint=f"gridvisor snapshot restore {site} {name}",
        )
