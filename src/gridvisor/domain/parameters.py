"""The comma-separated parameters of a disk's or an interface's string, each with its place in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gridvisor.domain.source import is_control


class Malformed(ValueError):
    """A value is wrong: what, at which character of it (from 0), in which item if it is a list, and what to do."""

    def __init__(self, text: str, offset: int = 0, *, hint: str | None = None, index: int | None = None) -> None:
        super().__init__(text)
        self.text, self.offset, self.hint, self.index = text, offset, hint, index


@dataclass(frozen=True, slots=True)
class Parameter:
    """`key=value`, or `value` alone with an empty key; `offset` is where it begins, `value_offset` its value."""

    key: str
    value: str
    offset: int
    value_offset: int


def split_parameters(text: str, start: int = 0) -> Iterator[Parameter]:
    """The parameters of `text` from `start` on, spaces around them taken off; empty ones too, but for the last.

    `target=` takes all that follows, commas as well (xl-disk-configuration(5)), but for one comma at the very end.
    """
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        end = text.find(",", start)
        end = len(text) if end < 0 else end
        piece = text[start:end]
        key, equals, value = piece.partition("=")
        if equals and key.strip() == "target":
            value_start = start + len(key) + 1
            yield Parameter("target", text[value_start:].removesuffix(","), start, value_start)
            return
        if equals:
            offset = start + len(key) + 1 + len(value) - len(value.lstrip())
            yield Parameter(key.strip(), value.strip(), start, offset)
        elif piece or end < len(text):
            yield Parameter("", piece.strip(), start, start)
        start = end + 1


def refuse_control(text: str) -> None:
    """Raise Malformed at the first control character of `text`."""
    for offset, character in enumerate(text):
        if is_control(character):
            raise Malformed(f"control character U+{ord(character):04X} is not supported", offset)
