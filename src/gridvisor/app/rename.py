"""The story of `domain rename`."""

from __future__ import annotations

from gridvisor.app.host import Host
from gridvisor.core.errors import Refused
from gridvisor.domain.model import NAME


def rename_domain(host: Host, name: str, new_name: str) -> None:
    """Give the domain, and the machine that it is, another name. Its volumes keep theirs."""
    if not NAME.fullmatch(new_name):
        raise Refused(f"'{new_name}' cannot be a domain's name: letters, digits and '_ . -', at most 63.")
    host.monitor.rename(name, new_name)
    host.machines.rename(name, new_name)
