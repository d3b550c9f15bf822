"""Writes a domain as a file that xl reads (xl.cfg(5)), and that `read_config` reads back as the same domain."""

from __future__ import annotations

from dataclasses import MISSING, fields

from gridvisor.core.errors import Refused
from gridvisor.domain.keys import KEYS
from gridvisor.domain.model import ConfigValue, Domain
from gridvisor.domain.source import is_control

# By name alone: libxlu_cfg.c loses the character of a numeric escape (seen with Xen 4.17).
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_ALWAYS = ("name", "type", "memory", "vcpus")
_DEFAULTS = {field.name: field.default for field in fields(Domain) if field.default is not MISSING}


def write_config(domain: Domain) -> str:
    """The file of `domain`; what has its default is left out, but for what a reader looks for first.

    An empty string stands for «not given». Raises Refused for what xl's syntax cannot say.
    """
    lines = []
    for key in KEYS:
        value = getattr(domain, key.attribute)
        if key.write and (key.name in _ALWAYS or value not in (_DEFAULTS.get(key.attribute), None, "")):
            lines.append(_line(key.name, key.write(value)))
    lines += [_line(name, value) for name, value in sorted(domain.other.items())]
    return "".join(lines)


def _line(name: str, value: ConfigValue) -> str:
    if isinstance(value, list) and len(value) > 1:
        items = "".join(f"    {_literal(item)},\n" for item in value)
        return f"{name} = [\n{items}]\n"
    return f"{name} = {_literal(value)}\n"


def _literal(value: ConfigValue) -> str:
    if isinstance(value, list):
        return f"[ {', '.join(map(_literal, value))} ]" if value else "[ ]"
    return str(value) if isinstance(value, int) else '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    if not is_control(character):
        return character
    if character not in _ESCAPES:
        raise Refused(f"The character U+{ord(character):04X} cannot stand in a configuration.")
    return _ESCAPES[character]
