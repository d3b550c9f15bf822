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
    """Remove `tap`; its status is 0 when there is none.

    Not by `ip tuntap del`, which must open the tap first: a guest's last process may hold it for a moment yet, and
    the tap would stay ("Device or resource busy").
    """
    return ("/bin/sh", "-c", 'ip -netns "$1" link delete dev "$2" 2>/dev/null || :', "sh", namespace, tap)
