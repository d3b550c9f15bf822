"""The commands that make and remove a guest's tap, for a process that keeps the guest and has no Python to spare."""

from __future__ import annotations

Argv = tuple[str, ...]


def add_tap(namespace: str, tap: str, bridge: str) -> tuple[Argv, ...]:
    """Make `tap` a port of `bridge` in `namespace`. What a killed guest left under that name goes first."""
    link = ("ip", "-netns", namespace, "link", "set", "dev", tap)
    return (
        remove_tap(namespace, tap),
        ("ip", "-netns", namespace, "tuntap", "add", "dev", tap, "mode", "tap"),
        (*link, "master", bridge, "up"),
    )


def remove_tap(namespace: str, tap: str) -> Argv:
    """Remove `tap`; its status is 0 when there is none (ip-tuntap(8): "del" makes what it is to remove)."""
    return ("ip", "-netns", namespace, "tuntap", "del", "dev", tap, "mode", "tap")
