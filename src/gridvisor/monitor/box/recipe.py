"""What dom0 of a box is made of."""

from __future__ import annotations

from pathlib import Path

from gridvisor.image.recipe import Recipe
from gridvisor.kernel.xen import SUITE

_TREE = Path(__file__).parent / "tree"


def dom0(xen: str) -> Recipe:
    """A Debian with the tools of that version of Xen ('4.20'), with LVM and sshd, and without systemd."""
    return Recipe(
        f"{SUITE}-xen-host",
        SUITE,
        packages=(
            *("openssh-server", "iproute2", "busybox-static", "kmod", "e2fsprogs", "socat", "zstd"),
            *(f"xen-utils-{xen}", "xenstore-utils", "lvm2", "thin-provisioning-tools"),
        ),
        trees=(_TREE,),
        size_mib=3072,
    )
