"""Sizes and durations are read once, at the edge; inside, the unit stands in the name (`size_mib`)."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,3})?)\s*(?P<unit>[KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of '2GiB', '1.5G', '256M', '4096'. All units are powers of 1024, as in LVM and Xen.

    Raises ValueError for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a size such as '2GiB' or '512M'")
    # Exact: 15 digits fit a float, and a power of two only moves its exponent.
    return int(float(match["number"]) * _FACTORS[match["unit"].upper()])


def counted(count: int, thing: str) -> str:
    """'1 probe', '2 probes'; for things whose plural has just an s."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def format_size(size_bytes: int) -> str:
    """A size for people, in the largest unit that leaves at least one: '1.5 GiB'."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
