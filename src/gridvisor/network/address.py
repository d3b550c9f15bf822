"""MACs, addresses and tap names that are stable because they are derived from names, and unique because `taken` is
asked. All pure: the same question gets the same answer on every machine."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Container
from ipaddress import IPv4Address, IPv4Network

from gridvisor.core.errors import Refused

XEN_OUI = "00:16:3e"
"""The prefix that the IEEE gave to Xen: guests under it clash with no real card."""

TAP_NAME_MAX = 15
"""IFNAMSIZ without its NUL (netdevice(7))."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ATTEMPTS = 1 << 16


def parse_mac(text: str) -> str:
    """The MAC in lower case. Raises ValueError for what an interface cannot have."""
    mac = text.strip().lower()
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{text!r} is not a MAC address such as '{XEN_OUI}:00:00:01'")
    if int(mac[:2], 16) & 1:
        raise ValueError(f"'{mac}' is a group address: the first byte of an interface's MAC is even")
    if mac == "00:00:00:00:00:00":
        raise ValueError(f"'{mac}' is no interface's MAC")
    return mac


def mac_for(seed: str, taken: Container[str] = ()) -> str:
    """A MAC under Xen's prefix, told by `seed` (such as 'tag/domain/0'); the next choice when it is `taken`.

    24 bits are few: among a thousand MACs two are the same in 3 of 100 cases, so do give `taken`.
    """
    for attempt in range(_ATTEMPTS):
        tail = _digest(seed, attempt)[:3]
        mac = f"{XEN_OUI}:{tail.hex(':')}"
        if mac not in taken:
            return mac
    raise Refused(f"No MAC under {XEN_OUI} is free for '{seed}' after {_ATTEMPTS} tries.")


def gateway_of(subnet: IPv4Network) -> IPv4Address:
    """The address that the host's own end of `subnet` has: its first one."""
    return subnet.network_address + 1


def is_for_guests(address: IPv4Address, subnet: IPv4Network) -> bool:
    """True for an address of `subnet` that a guest may have: not the network's own, the gateway's or broadcast."""
    return address in subnet and address not in (subnet.network_address, gateway_of(subnet), subnet.broadcast_address)


def address_for(seed: str, subnet: IPv4Network, taken: Container[IPv4Address] = ()) -> IPv4Address:
    """An address in `subnet` told by `seed`, or the next free one after it; never network, gateway or broadcast.

    Raises Refused when none is free.
    """
    count = max(0, subnet.num_addresses - 3)
    if count:
        first_choice = int.from_bytes(_digest(seed, 0)[:8], "big") % count
        for step in range(count):
            address = subnet.network_address + 2 + (first_choice + step) % count
            if address not in taken:
                return address
    raise Refused(
        f"No address is free for '{seed}' in {subnet}: {subnet.num_addresses} addresses, less network, gateway and"
        f" broadcast, leave {count} for guests, and {'all are taken' if count else 'that is none'}.",
        hint="take a larger subnet, or remove guests that are not needed",
    )


def tap_name(tag: str, domain: str, index: int, *, taken: Container[str] = ()) -> str:
    """The name of a tap for interface `index` of `domain`: 'gv', the tag of six hex digits, and seven letters."""
    for attempt in range(_ATTEMPTS):
        code = base64.b32encode(_digest(f"{domain}/{index}", attempt)).decode().lower()
        name = f"gv{tag[:6]}{code}"[:TAP_NAME_MAX]
        if name not in taken:
            return name
    raise Refused(f"No tap name is free for interface {index} of '{domain}'.")


def _digest(seed: str, attempt: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{attempt}".encode()).digest()
