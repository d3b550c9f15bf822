"""The box of this host: a Xen host in QEMU, for those who have none."""

from __future__ import annotations

from gridvisor.app.host import Host, require_root
from gridvisor.app.image import build
from gridvisor.kernel.xen import xen_pack
from gridvisor.monitor.box.box import Box


def box_of(host: Host) -> Box:
    """The box; nothing is made by this. Raises Refused for a user who is not root."""
    require_root()
    return Box(
        host.places,
        host.bus,
        target=host.target,
        pack=lambda: xen_pack(host.places, host.bus, target=host.target, mirror_uri=host.mirror_uri),
        image=lambda recipe: build(host, recipe),
    )
