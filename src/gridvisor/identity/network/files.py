"""The network files of an identity, in the form that the image reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gridvisor.identity.model import Identity, IdentityFile
from gridvisor.identity.network.ifcfg import ifcfg_files
from gridvisor.identity.network.ifupdown import ifupdown_files
from gridvisor.identity.network.networkd import networkd_files
from gridvisor.identity.network.networkmanager import networkmanager_files
from gridvisor.identity.network.style import NetworkStyle

_WRITERS: Mapping[NetworkStyle, Callable[[Identity], tuple[IdentityFile, ...]]] = {
    NetworkStyle.NETWORKD: networkd_files,
    NetworkStyle.IFUPDOWN: ifupdown_files,
    NetworkStyle.IFCFG: ifcfg_files,
    NetworkStyle.NETWORKMANAGER: networkmanager_files,
}


def network_files(style: NetworkStyle, identity: Identity) -> tuple[IdentityFile, ...]:
    """The files that set up the interfaces of `identity` under `style`."""
    return _WRITERS[style](identity)
