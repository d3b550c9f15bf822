"""YAML as pydantic models whose every problem has a place: `site.yaml:12:7`.

The text is read into PyYAML's nodes, which know where they stand; what pydantic finds wrong is then told at the node.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from gridvisor.core.errors import InputError, Problem, Refused, Span

M = TypeVar("M", bound=BaseModel)
Where = tuple[str | int, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with libyaml
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
_NUMBERS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float")}
# What pydantic says is wanted, in our words.
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_HUGE = 4 << 20
_DEEP = 100  # levels of lists and mappings; libyaml's composer calls itself for each, until the stack ends


@dataclass(frozen=True)
class Document(Generic[M]):
    """A file that was read: the model, and where each of its values and keys stands."""

    path: str
    value: M
    lines: Sequence[str] = field(repr=False)
    values: Mapping[Where, Span] = field(repr=False)
    keys: Mapping[Where, Span] = field(repr=False)

    def problem(self, text: str, *where: str | int, hint: str | None = None, at_key: bool = False) -> Problem:
        """A Problem at that value (at its key, with `at_key`), or at the nearest thing around it that the file has."""
        table = self.keys if at_key else self.values
        for length in range(len(where), -1, -1):
            if span := table.get(where[:length]) or self.values.get(where[:length]):
                return Problem(span, text, hint, _line(self.lines, span))
        return Problem(Span(self.path, 1, 1), text, hint)


def read_document(path: Path, model: type[M], *, shown: str | None = None) -> Document[M]:
    """The file as a `model`. Raises InputError with every problem that it has, Refused if it cannot be read at all.

    `shown` is what problems call the file, if not by its path.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"'{path}' cannot be read: {error.strerror}.") from error
    return parse_document(data, model, shown or str(path))


def parse_document(data: bytes, model: type[M], name: str) -> Document[M]:
    """The bytes of a file called `name` as a `model`; see `read_document`."""
    if len(data) > _HUGE:
        raise InputError([Problem(Span(name, 1, 1), f"the file has {len(data)} bytes; {_HUGE} are the most")])
    try:
        text = data.decode()
        _refuse_deep(text, name)
        node = yaml.compose(text, Loader=_LOADER)
        reader = _Reader(name, text.splitlines())
        plain = reader.read(node, ()) if node is not None else {}
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError([Problem(Span(name, line, 1), "the file is not UTF-8 text")]) from error
    except yaml.YAMLError as error:
        raise InputError([_syntax(error, name, data.decode(errors="replace").splitlines())]) from error
    try:
        value = model.model_validate(plain)
    except ValidationError as error:
        told = {problem.span for problem in reader.problems}  # what cannot be read is missed as well
        reader.problems += dict.fromkeys(one for one in reader.found(error, model) if one.span not in told)
        raise InputError(reader.problems) from error
    if reader.problems:
        raise InputError(reader.problems)
    return Document(name, value, reader.lines, reader.values, reader.keys)


def _refuse_deep(text: str, name: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEP:
            assert event.start_mark is not None  # a parser's events have one
            span = Span(name, event.start_mark.line + 1, event.start_mark.column + 1)
            raise InputError([Problem(span, f"nested too deeply; {_DEEP} levels are the most")])


class _Reader:
    """Turns nodes into plain values, and remembers where each stood."""

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self.name = name
        self.lines = lines
        self.values: dict[Where, Span] = {(): Span(name, 1, 1)}
        self.keys: dict[Where, Span] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()
        self._constructor = yaml.constructor.SafeConstructor()

    def read(self, node: yaml.Node, where: Where) -> Any:
        span = self._span(node)
        self.values[where] = span
        if id(node) in self._seen:
            self._tell(span, "YAML's anchors and aliases are not read here", "write it out")
            return None
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag in _PLAIN:
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode) and node.tag in _PLAIN:
            return [self.read(one, (*where, index)) for index, one in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:timestamp" or (node.tag in _NUMBERS and ":" in node.value):
            return node.value  # as it is written: YAML 1.1 reads the ports 22:22 as a number in base 60
        if node.tag not in _PLAIN:
            self._tell(span, f"the tag '{node.tag}' means nothing here", "leave it out")
            return None
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._tell(span, f"cannot be read: {error}")
            return None

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            span = self._span(key)
            if key.tag == "tag:yaml.org,2002:merge":
                self._tell(span, "YAML's merge keys are not read here", "write it out")
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._tell(span, "a key is a word, not a list or a mapping")
                continue
            name = str(key.value)
            if name in found:
                first = self.keys[(*where, name)]
                self._tell(span, f"'{name}' is given twice", f"first given at line {first.line}")
            self.keys.setdefault((*where, name), span)
            found[name] = self.read(value, (*where, name))
        return found

    def found(self, error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
        """What pydantic says, in our words and at its place."""
        for one in error.errors(include_url=False):
            where = _in_the_file(one["loc"], self.values, self.keys)
            # `[key]` is how pydantic says that a key itself is wrong.
            at_key = one["type"] == "extra_forbidden" or one["loc"] == (*where, "[key]")
            text, hint = _in_words(one, model)
            span = (self.keys if at_key else self.values).get(where, self.values[()])
            yield Problem(span, text, hint, _line(self.lines, span))

    def _span(self, node: yaml.Node) -> Span:
        return Span(self.name, node.start_mark.line + 1, node.start_mark.column + 1)

    def _tell(self, span: Span, text: str, hint: str | None = None) -> None:
        self.problems.append(Problem(span, text, hint, _line(self.lines, span)))


def _in_words(one: ErrorDetails, model: type[BaseModel]) -> tuple[str, str | None]:
    """What is wrong, and what to do about it."""
    kind, value, name = one["type"], one["input"], str(one["loc"][-1]) if one["loc"] else ""
    if kind == "extra_forbidden":
        known = sorted(_keys_at(model, one["loc"][:-1]))
        close = difflib.get_close_matches(name, known, 1)
        return f"unknown key '{name}'", f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(known)}"
    if kind == "missing":
        return f"'{name}' is missing", None
    if kind == "value_error":
        return str(one["ctx"]["error"]), None
    if kind == "string_too_short":
        return f"'{name}' is empty", None
    if kind == "too_short":
        return f"'{name}' is empty", "name at least one"
    if kind in _WANTED:
        return f"{_WANTED[kind]} is wanted, not {_shown(value)}", _hint(_WANTED[kind], value)
    return f"{one['msg'][0].lower()}{one['msg'][1:]}, not {_shown(value)}", None


def _hint(wanted: str, value: object) -> str | None:
    """What to do about a value that is of another kind than the one that is wanted."""
    match wanted, value:
        case "text", int() | float():
            return "put it in quotes"
        case "a list", dict():
            return "begin each with '- '"
        case "a list", str():
            return f"write [{value}]"
        case "a mapping", list():
            return "write 'key: value', without '- ' before it or [ ] around it"
        case "a mapping", str():
            return "write 'key: value'"
        case _:
            return None


def _in_the_file(location: Where, values: Mapping[Where, Span], keys: Mapping[Where, Span]) -> Where:
    """The longest beginning of pydantic's location that the file has; the rest names types, or what is not there."""
    for length in range(len(location), -1, -1):
        if location[:length] in values or location[:length] in keys:
            return location[:length]
    return ()


def _keys_at(model: type[BaseModel], where: Where) -> Iterator[str]:
    """The keys that the model knows at that place."""
    kind: Any = model.model_fields["root"].annotation if issubclass(model, RootModel) else model
    for step in where:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {info.alias or name: info.annotation for name, info in kind.model_fields.items()}
            kind = fields.get(str(step))
        else:
            arguments = get_args(kind)
            kind = arguments[-1] if get_origin(kind) is not None and arguments else None
        models = [one for one in get_args(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
        if models and not isinstance(kind, type):
            kind = models[0] if get_origin(kind) not in (dict, list, tuple) else kind
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from (info.alias or name for name, info in kind.model_fields.items())


def _syntax(error: yaml.YAMLError, name: str, lines: Sequence[str]) -> Problem:
    mark = getattr(error, "problem_mark", None)
    span = Span(name, mark.line + 1, mark.column + 1) if mark else Span(name, 1, 1)
    said, hint = getattr(error, "problem", None) or str(error), getattr(error, "context", None)
    if "alias" in f"{said} {hint}":
        hint = "put text that begins with * in quotes"
    return Problem(span, f"not YAML: {said}", hint, _line(lines, span))


def _line(lines: Sequence[str], span: Span) -> str | None:
    return lines[span.line - 1] if span.line <= len(lines) else None


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
        case str():
            return f"'{value}'"
        case _:
            return f"{value!r}"[:60]
