"""A network interface's string, read and written as xl-network-configuration(5) says."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import fields
from difflib import get_close_matches

from gridvisor.core.errors import Refused
from gridvisor.domain.model import Vif
from gridvisor.domain.parameters import Malformed, Parameter, refuse_control, split_parameters

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.IGNORECASE)
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # IFNAMSIZ, less the NUL
_RATE = re.compile(r"[1-9][0-9]{0,14}[GMK]?[Bb]/s(?:@[0-9]{1,9}(?:u|us|m|ms|s)?)?")  # libxlu_vif.c
_TYPES = ("vif", "ioemu", "netfront")
_KEYS = tuple(field.name for field in fields(Vif) if field.name != "options")
_KEPT_KEYS = ("devid", "mtu", "gatewaydev", "trusted")


def parse_vif(text: str) -> Vif:
    """The interface that `text` describes; '' is one with defaults. Raises Malformed, with the place in `text`."""
    refuse_control(text)
    found: dict[str, str] = {}
    options: list[str] = []
    for parameter in split_parameters(text):
        key, value = parameter.key, parameter.value
        if not key and not value:
            continue
        if not key:
            raise Malformed(f"'{value}' is not KEY=VALUE", parameter.offset, hint="mac=00:16:3e:00:00:01,bridge=br0")
        if key in _KEPT_KEYS:
            options.append(f"{key}={value}")
            continue
        if key not in _KEYS:
            like = get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean '{like[0]}'?" if like else f"known are {', '.join((*_KEYS, *_KEPT_KEYS))}"
            raise Malformed(f"an interface has no parameter '{key}'", parameter.offset, hint=hint)
        if key in found:
            raise Malformed(f"'{key}' is given twice", parameter.offset)
        found[key] = _checked(parameter)
    return Vif(**found, options=tuple(options))


def render_vif(vif: Vif) -> str:
    """The string that xl reads as this interface. Raises Refused for what such a string cannot say."""
    words = [f"{key}={value}" for key in _KEYS if (value := getattr(vif, key)) is not None]
    words += vif.options
    for word in words:
        value = word.partition("=")[2]
        if not value or "," in value or value != value.strip():
            raise Refused(
                f"'{word}' cannot stand in an interface's configuration: empty, a comma, or spaces around it."
            )
    return ",".join(words)


def _checked(parameter: Parameter) -> str:
    key, value, offset = parameter.key, parameter.value, parameter.value_offset
    if not value:
        raise Malformed(f"'{key}' has no value", offset)
    if key == "mac":
        return _mac(value, offset)
    if key == "ip":
        for address in value.split():
            try:
                ipaddress.ip_interface(address)
            except ValueError:
                raise Malformed(f"'{address}' is not an IP address", offset) from None
    if key in ("bridge", "vifname") and not _DEVICE.fullmatch(value):
        raise Malformed(f"'{value}' is not a name of a network device", offset, hint="at most 15 letters and digits")
    if key == "rate" and not _RATE.fullmatch(value):
        raise Malformed(f"'{value}' is not a rate", offset, hint="10Mb/s, 250KB/s, 1MB/s@20ms")
    if key == "type" and value not in _TYPES:
        raise Malformed(f"the type '{value}' is not known", offset, hint=", ".join(_TYPES))
    return value


def _mac(value: str, offset: int) -> str:
    if not _MAC.fullmatch(value):
        raise Malformed(f"'{value}' is not a MAC address", offset, hint="six bytes in hex: 00:16:3e:00:00:01")
    if int(value[:2], 16) & 1:
        raise Malformed(f"'{value}' is a group's address (its first byte is odd)", offset, hint="00:16:3e is Xen's own")
    if int(value.replace(":", ""), 16) == 0:
        raise Malformed("a MAC address of zeros is not usable", offset)
    return value.lower()
