"""The kernel parameters that tell our initramfs which block device is what; `initramfs/init` reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdentityDevice:
    """A block device that holds an identity tar from its first byte on, and the hash by which guests remember it."""

    device: str
    sha256: str


def boot_parameters(
    root: str,
    identity: IdentityDevice | None = None,
    *,
    modules: str | None = None,
    swaps: Iterable[str] = (),
) -> tuple[str, ...]:
    """Words for the kernel command line. Devices are named as below the guest's /dev: 'ubda', 'xvda2'."""
    words = [f"gridvisor.root={root}"]
    if identity:
        words.append(f"gridvisor.identity={identity.device}:{identity.sha256}")
    if modules:
        words.append(f"gridvisor.modules={modules}")
    return (*words, *(f"gridvisor.swap={swap}" for swap in swaps))
