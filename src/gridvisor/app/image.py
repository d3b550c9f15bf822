"""Images as the stories want them: found in the store, or built when it is one that we know how to build."""

from __future__ import annotations

from gridvisor.app.host import Host
from gridvisor.image.store import Image

BASE = "debian-13"


def base_image(host: Host, name: str | None) -> Image:
    """The image called `name`; without a name, our Debian base, built when the store has none."""
    raise NotImplementedError
