"""Reads a domain's configuration file, in xl's syntax or xm's."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gridvisor.core.errors import InputError, Problem, Span
from gridvisor.domain.expression import Assigned, Outcome, Value, interpret
from gridvisor.domain.keys import KEYS, Key
from gridvisor.domain.model import ConfigValue, Domain
from gridvisor.domain.parameters import Malformed
from gridvisor.domain.source import LARGEST_BYTES, Source

_BY_NAME = {key.name: key for key in KEYS}
_XEN_ALONE = frozenset(("boot", "cpus", "maxvcpus", "vfb", "vtpm"))  # no misspellings of ours
_MOST_WARNINGS = 50
_XL_KEY = re.compile(r"[a-z][_0-9a-z]*")  # libxlu_cfg_l.l


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """What a file says, and what in it has no effect here."""

    domain: Domain
    warnings: tuple[Problem, ...] = ()


def load_config(path: Path, variables: Mapping[str, str] = MappingProxyType({})) -> ConfigRead:
    """`read_config` of a file. Raises InputError also for a file that cannot be read or is no text."""

    def refuse(text: str, hint: str | None = None) -> InputError:
        return InputError([Problem(Span(str(path), 1, 1), text, hint)])

    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise refuse("this is a directory, not a configuration file")
        if not stat.S_ISREG(status.st_mode):
            raise refuse("this is not a regular file")
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        raise refuse("there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise refuse(f"this file cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > LARGEST_BYTES:
        raise refuse(f"this file is larger than {LARGEST_BYTES // 1024} KiB", "is it a configuration file?")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        problem = Problem(Span(str(path), line, column), f"byte 0x{data[error.start]:02x} is not UTF-8 text")
        raise InputError([problem]) from error
    return read_config(text, str(path), variables)


def read_config(text: str, path: str, variables: Mapping[str, str] = MappingProxyType({})) -> ConfigRead:
    """The domain that `text` describes; `path` is what to call it in problems.

    `variables` come from the command line (KEY=VALUE). Such a name has its value throughout the file, so `vmid=3` sets
    a variable and `memory=512` goes before what the file says. Raises InputError with all the problems found.
    """
    source = Source(text, path)
    if len(source.text) > LARGEST_BYTES:
        source = Source("", path)
        source.report(1, 1, f"this text is larger than {LARGEST_BYTES // 1024} KiB", hint="is it a configuration file?")
        source.raise_problems()
    outcome = interpret(source, variables)
    reading = _Reading(source, outcome)
    domain = reading.domain()
    reading.check_whole(domain)
    source.raise_problems()
    return ConfigRead(domain, tuple(islice(reading.warnings(), _MOST_WARNINGS)))


class _Reading:
    """From names with values to the fields of a Domain."""

    def __init__(self, source: Source, outcome: Outcome) -> None:
        self.source, self.outcome = source, outcome
        self.wrong: list[str] = []
        self.whole = not source.problems  # else the name may stand in what could not be read

    def domain(self) -> Domain:
        """The domain, as far as its values can be read; the problems are noted."""
        fields: dict[str, Any] = {}
        for key in KEYS:
            assigned = self.outcome.names.get(key.name)
            value = self.convert(key, assigned) if assigned else None
            if assigned is None or value is None:
                continue
            if fields.get(key.attribute, value) != value:
                self.report(assigned, f"'{key.name}' contradicts what an earlier key says")
            fields[key.attribute] = value
        if self.whole and "name" not in fields and "name" not in self.wrong:
            self.source.report(1, 1, "the domain has no 'name'", hint='name = "vm1"')
        return Domain(**{"name": "", **fields, "other": self.other()})

    def convert(self, key: Key, assigned: Assigned) -> object:
        try:
            return key.read(assigned.value)
        except Malformed as wrong:
            self.wrong.append(key.name)
            item = assigned.value
            if wrong.index is not None and isinstance(item, (list, tuple)):
                item = item[wrong.index]
            text = f"{key.name}: {wrong.text}"
            if wrong.index is not None and isinstance(item, str):
                text += f" (character {wrong.offset + 1} of '{item[:120]}')"
            self.report(assigned, text, hint=wrong.hint, index=wrong.index, offset=wrong.offset)
            return None

    def report(
        self, assigned: Assigned, text: str, *, hint: str | None = None, index: int | None = None, offset: int = 0
    ) -> None:
        line, column = assigned.place(index, offset)
        self.source.add(assigned.source.problem(line, column, text, hint=hint))

    def check_whole(self, domain: Domain) -> None:
        """What is wrong between two values that are each right."""
        if domain.maxmem_mib is not None and domain.maxmem_mib < domain.memory_mib:
            text = f"maxmem: {domain.maxmem_mib} MiB is less than memory's {domain.memory_mib} MiB"
            self.report(self.outcome.names["maxmem"], text)
        self.unique("disk", [disk.vdev for disk in domain.disks], "two disks are called")
        self.unique("vif", [vif.mac for vif in domain.vifs], "two interfaces have the address")

    def unique(self, key: str, words: Sequence[str | None], text: str) -> None:
        seen: set[str | None] = {None}
        for index, word in enumerate(words):
            if word in seen and word is not None:
                self.report(self.outcome.names[key], f"{key}: {text} '{word}'", index=index)
            seen.add(word)

    def unknown(self) -> Iterator[tuple[str, Assigned]]:
        """Names that are no keys of ours, and no variables of the file either."""
        for name, assigned in self.outcome.names.items():
            if name not in _BY_NAME and name not in self.outcome.read:
                yield name, assigned

    def other(self) -> dict[str, ConfigValue]:
        return {
            name: _as_xl(assigned.value)
            for name, assigned in self.unknown()
            if _XL_KEY.fullmatch(name) and assigned.value is not None
        }

    def warnings(self) -> Iterator[Problem]:
        for name, assigned in self.unknown():
            like = [] if name in _XEN_ALONE else get_close_matches(name, _BY_NAME, n=1, cutoff=0.75)
            hint = f"did you mean '{like[0]}'?" if like else None
            line, column = assigned.at.line, 1 if assigned.source is not self.source else assigned.at.column
            text = f"the key '{name}' is not known here: it is kept and has no effect"
            yield assigned.source.problem(line, column, text, hint=hint)
        for name, assigned in self.outcome.names.items():
            if assigned.again:
                text = f"'{name}' is given again: the value of line {assigned.again.line} has no effect"
                yield assigned.source.problem(assigned.at.line, assigned.at.column, text)


def _as_xl(value: Value) -> ConfigValue:
    """The value as xl would have it: it knows strings, numbers without a sign, and lists of them."""
    if isinstance(value, (list, tuple)):
        return [_as_xl(item) for item in value]
    if isinstance(value, int) and value >= 0:
        return int(value)
    return str(value)
