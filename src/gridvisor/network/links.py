"""What `ip -json` tells of a namespace, and what is missing in it: plain functions on plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from gridvisor.core.errors import ToolOutput


@dataclass(frozen=True, slots=True)
class Link:
    """One interface, as the kernel has it. `carrier`: something holds the other end (for a tap: a running guest)."""

    name: str
    kind: str
    master: str | None
    up: bool
    carrier: bool
    addresses: tuple[IPv4Interface, ...]


def parse_links(text: str) -> tuple[Link, ...]:
    """The links in the output of `ip -json -details address show` (ip-address(8)).

    Kind is '' for an ordinary device, else 'bridge', 'tun' (which taps are) and so on. Raises ToolOutput.
    """
    try:
        return tuple(_link(entry) for entry in json.loads(text or "[]") if entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolOutput(f"The output of 'ip -json address' cannot be read: {error!r}") from error


def _link(entry: dict[str, object]) -> Link:
    facts, flags, addresses = entry.get("linkinfo", {}), entry["flags"], entry.get("addr_info", [])
    if not isinstance(facts, dict) or not isinstance(flags, list) or not isinstance(addresses, list):
        raise TypeError(f"unexpected types in {entry}")
    return Link(
        name=str(entry["ifname"]),
        kind=str(facts.get("info_kind", "")),
        master=str(entry["master"]) if "master" in entry else None,
        up="UP" in flags,
        carrier="LOWER_UP" in flags,
        addresses=tuple(IPv4Interface(f"{a['local']}/{a['prefixlen']}") for a in addresses if a["family"] == "inet"),
    )


@dataclass(frozen=True, slots=True)
class Bridge:
    """The bridge that a network should have. A `mac` of its own, since else it would follow the taps that come and go
    and guests would look for the host at an address that is no more."""

    name: str
    mac: str
    address: IPv4Interface


def missing(links: Sequence[Link], bridge: Bridge) -> list[str]:
    """Lines for `ip -batch` that bring the namespace to what is wanted; none when it is all there."""
    have = {link.name: link for link in links}
    lines = []
    if not have["lo"].up:
        lines.append("link set dev lo up")
    now = have.get(bridge.name)
    if now is None:
        lines.append(f"link add name {bridge.name} address {bridge.mac} type bridge stp_state 0 mcast_snooping 0")
    if now is None or bridge.address not in now.addresses:
        lines.append(f"address add {bridge.address} broadcast + dev {bridge.name}")
    if now is None or not now.up:
        lines.append(f"link set dev {bridge.name} up")
    return lines
