"""The forms of network configuration that a guest image may read."""

from __future__ import annotations

from enum import StrEnum


class NetworkStyle(StrEnum):
    """Which program sets up the network in a guest, and so which files it reads."""

    NETWORKD = "networkd"
    IFUPDOWN = "ifupdown"
    IFCFG = "ifcfg"
    NETWORKMANAGER = "networkmanager"
