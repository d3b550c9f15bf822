"""The keys of a configuration: one table that reading, writing and the reference page all follow."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from gridvisor.domain.disk import parse_disk, render_disk
from gridvisor.domain.expression import Value
from gridvisor.domain.model import NAME, ConfigValue, Disk, DomainType, OnEnd, Vif
from gridvisor.domain.parameters import Malformed, refuse_control
from gridvisor.domain.vif import parse_vif, render_vif

LARGEST_MEMORY_MIB = 16 * 1024 * 1024
MOST_VCPUS = 512  # Xen's own limit for paravirtual domains

_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ON = ("dhcp", "on", "yes", "true", "1")
_OFF = ("", "off", "no", "false", "0", "none")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the file: the attribute of Domain that it sets, and how it is read and written.

    `read` raises Malformed and gives None for «not given»; a key without `write` is read for old files' sake only.
    """

    name: str
    attribute: str
    read: Callable[[Value], object]
    write: Callable[[Any], ConfigValue] | None
    default: str
    meaning: str


def _text(value: Value) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # in xl's files a number without quotes is a string too
    if not isinstance(value, str):
        raise Malformed("a string is expected here", hint='in quotes: "…"')
    refuse_control(value)
    return value


def _name(value: Value) -> str | None:
    text = _text(value)
    if text is not None and not NAME.fullmatch(text):
        hint = "1 to 63 letters, digits, '-', '_' and '.', not two dots in a row, a letter or digit at both ends"
        raise Malformed(f"'{text[:80]}' cannot be the name of a domain", hint=hint)
    return text


def _between(least: int, most: int, what: str) -> Callable[[Value], int | None]:
    def read(value: Value) -> int | None:
        if value is None:
            return None
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,18}\s*", value, re.ASCII):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Malformed(f"a whole number of {what} is expected here")
        if not least <= value <= most:
            raise Malformed(f"{value} {what} is out of range", hint=f"{least} to {most}")
        return value

    return read


def _one_of(kind: type[StrEnum]) -> Callable[[Value], StrEnum | None]:
    def read(value: Value) -> StrEnum | None:
        text = _text(value)
        try:
            return None if text is None else kind(text)
        except ValueError:
            raise Malformed(f"'{text}' is not known here", hint=f"known are {', '.join(kind)}") from None

    return read


def _builder(value: Value) -> DomainType | None:
    text = _text(value)
    if text not in (None, "linux", "generic", "hvm"):
        raise Malformed(f"the builder '{text}' is not known", hint="known are linux, generic, hvm; today: type = 'pv'")
    return {None: None, "hvm": DomainType.HVM}.get(text, DomainType.PV)


def _dhcp(value: Value) -> bool | None:
    text = str(int(value)) if isinstance(value, bool) else (_text(value) or "")
    if text.lower() not in (*_ON, *_OFF):
        raise Malformed(f"'{text}' says neither yes nor no", hint="dhcp = 'dhcp' to ask, dhcp = 'off' not to")
    return text.lower() in _ON


def _address(value: Value) -> str | None:
    text = _text(value)
    try:
        return None if text is None else str(ipaddress.ip_address(text))
    except ValueError:
        raise Malformed(f"'{text}' is not an IP address") from None


def _netmask(value: Value) -> str | None:
    text = _text(value)
    if text is None:
        return None
    try:
        bits = int(ipaddress.IPv4Address(text))
    except ValueError:
        raise Malformed(f"'{text}' is not a netmask", hint="as in 255.255.255.0") from None
    if (inverse := bits ^ 0xFFFFFFFF) & (inverse + 1):
        raise Malformed(f"'{text}' is not a netmask: its ones do not stand together", hint="as in 255.255.255.0")
    return text


def _hostname(value: Value) -> str | None:
    text = _text(value)
    if text is not None and (len(text) > 253 or not all(map(_HOST_LABEL.fullmatch, text.split(".")))):
        raise Malformed(f"'{text[:80]}' is not a host name", hint="letters, digits and '-', with dots between labels")
    return text


def _each(parse: Callable[[str], _T], example: str) -> Callable[[Value], tuple[_T, ...] | None]:
    def read(value: Value) -> tuple[_T, ...] | None:
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            raise Malformed("a list is expected here", hint=f"[ '{example}' ]")
        found: list[_T] = []
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise Malformed("a string is expected here", hint=f"'{example}'", index=index)
            try:
                found.append(parse(item))
            except Malformed as wrong:
                raise Malformed(wrong.text, wrong.offset, hint=wrong.hint, index=index) from None
        return tuple(found)

    return read


def _render_disks(disks: tuple[Disk, ...]) -> ConfigValue:
    return [render_disk(disk) for disk in disks]


def _render_vifs(vifs: tuple[Vif, ...]) -> ConfigValue:
    return [render_vif(vif) for vif in vifs]


def _render_dhcp(wanted: bool) -> ConfigValue:
    return "dhcp" if wanted else "off"


_memory, _vcpus = _between(1, LARGEST_MEMORY_MIB, "MiB"), _between(1, MOST_VCPUS, "processors")
_disks, _vifs = _each(parse_disk, "/dev/vg0/vm1,raw,xvda,rw"), _each(parse_vif, "mac=00:16:3e:00:00:01")
_END = "one of " + ", ".join(f"`{end}`" for end in OnEnd)

KEYS = (
    Key("name", "name", _name, str, "must be given", "What the domain is called, once on a host."),
    Key("type", "type", _one_of(DomainType), str, "`pv`", "Paravirtual `pv`, `pvh`, or fully virtual `hvm`."),
    Key(
        "builder", "type", _builder, None, "", "The old word for `type`: `linux` or `generic` is `pv`, `hvm` is `hvm`."
    ),
    Key("memory", "memory_mib", _memory, int, "128", "Memory in MiB."),
    Key("maxmem", "maxmem_mib", _memory, int, "`memory`", "What memory may grow to, in MiB."),
    Key("vcpus", "vcpus", _vcpus, int, "1", "Virtual processors."),
    Key("kernel", "kernel", _text, str, "the kernel pack's", "Kernel image on the host."),
    Key("ramdisk", "ramdisk", _text, str, "the kernel pack's", "Initial ramdisk on the host."),
    Key("bootloader", "bootloader", _text, str, "none", "Program that takes the kernel from the guest's disk."),
    Key("root", "root", _text, str, "the first disk", "Root device, as on the kernel's command line."),
    Key("extra", "extra", _text, str, "none", "More words for the kernel's command line."),
    Key("disk", "disks", _disks, _render_disks, "none", "List of disks, see xl-disk-configuration(5)."),
    Key("vif", "vifs", _vifs, _render_vifs, "none", "List of network interfaces, see xl-network-configuration(5)."),
    Key("dhcp", "dhcp", _dhcp, _render_dhcp, "`off`", "`dhcp` to ask for an address, `off` not to."),
    Key("ip", "ip", _address, str, "none", "Address of the first interface."),
    Key("netmask", "netmask", _netmask, str, "none", "Its netmask, as in `255.255.255.0`."),
    Key("gateway", "gateway", _address, str, "none", "Its way out."),
    Key("hostname", "hostname", _hostname, str, "`name`", "What the guest calls itself."),
    Key("on_poweroff", "on_poweroff", _one_of(OnEnd), str, "`destroy`", f"What follows a power-off: {_END}."),
    Key("on_reboot", "on_reboot", _one_of(OnEnd), str, "`restart`", "What follows a reboot, likewise."),
    Key("on_crash", "on_crash", _one_of(OnEnd), str, "`destroy`", "What follows a crash, likewise."),
)


def reference_table() -> str:
    """The keys as a Markdown table, for the reference page."""
    rows = [f"| `{key.name}` | {key.meaning} | {key.default} |" for key in KEYS]
    return "\n".join(["| key | meaning | when not given |", "| --- | --- | --- |", *rows]) + "\n"
