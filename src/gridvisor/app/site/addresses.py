"""The addresses that machines of a site were given, kept in its folder: they stay when the site file changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.site.machine import Addresses, Machine

_FILE = "addresses.json"


def read_addresses(folder: Path) -> Addresses:
    """What was kept in a site's folder; nothing when there is nothing that can be read."""
    try:
        found = json.loads((folder / _FILE).read_text())
        return {
            name: {network: IPv4Address(address) for network, address in addresses.items()}
            for name, addresses in found.items()
        }
    except (OSError, ValueError, AttributeError):
        return {}


def keep_addresses(folder: Path, machines: Iterable[Machine]) -> None:
    """Keep the addresses of these machines, and of no others."""
    found = {machine.name: {card.network: str(card.address) for card in machine.interfaces} for machine in machines}
    write_whole(folder / _FILE, json.dumps(found))
