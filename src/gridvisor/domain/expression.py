"""Computes what a configuration assigns, within bounds: xm's files were Python programs, and ours never are.

A value is a string, a number or a list, its size is bounded, and all the values of a file together have a budget; so a
hostile file costs no more than a long one.
"""

from __future__ import annotations

import difflib
import math
import operator as operators
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gridvisor.domain.source import Source, Trouble
from gridvisor.domain.syntax import (
    Assign,
    Chain,
    CheckAll,
    Convert,
    Declare,
    Define,
    If,
    Items,
    Literal,
    Name,
    Node,
    Refuse,
    Return,
    Statement,
    Unary,
    parse,
)
from gridvisor.domain.tokens import Kind, Token, refuse_control_characters

Value = str | int | float | bool | None | list["Value"] | tuple["Value", ...]

_LONGEST_STRING = 64 * 1024
_LARGEST_INTEGER = 2**63
_DEEPEST_LIST = 8
_BUDGET = 1 << 20  # one per value computed, per character and per item
_WIDEST_FIELD = 256
_SUGGESTED_FROM = 50
_BARE_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19}")
_FORMAT = re.compile(r"%(?P<flags>[#0\- +]*)(?P<width>\d{0,9})(?:\.(?P<precision>\d{0,9}))?(?P<letter>.)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a name was given at last, and where. `again` is the place of an earlier value that nothing had read."""

    value: Value
    node: Node
    at: Token
    source: Source
    again: Token | None = None

    def place(self, index: int | None = None, offset: int = 0) -> tuple[int, int]:
        """Line and column of the value; of its item `index`; of the character `offset` in it, if it is written out."""
        node = self.node
        if index is not None and isinstance(node, Items) and index < len(node.items):
            node = node.items[index]
        if isinstance(node, Literal) and node.exact:
            return node.at.line, node.at.column + 1 + offset
        return node.at.line, node.at.column


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a file assigned, in its order; `read` are the names that its own expressions used."""

    names: Mapping[str, Assigned]
    read: frozenset[str]


class _CheckFailed(Exception):
    """A `raise` within a check."""


class _Returned(Exception):
    """A `return` within a check."""

    def __init__(self, value: Value) -> None:
        super().__init__()
        self.value = value


def interpret(source: Source, given: Mapping[str, str]) -> Outcome:
    """What the text of `source` assigns, when the names in `given` have been given on the command line.

    A given name has its value throughout: what the file assigns to it is passed over.
    Problems are noted in `source`.
    """
    interpreter = _Interpreter(source, given)
    for name, text in given.items():
        interpreter.give(name, text)
    interpreter.block(parse(source))
    interpreter.check_declared()
    return Outcome(interpreter.names, frozenset(interpreter.read))


class _Interpreter:
    def __init__(self, source: Source, given: Mapping[str, str]) -> None:
        self.source = source
        self.given = given
        self.names: dict[str, Assigned] = {}
        self.read: set[str] = set()
        self.broken: set[str] = set()
        self.checks: dict[str, Define] = {}
        self.declared: dict[str, Declare] = {}
        self.locals: dict[str, Value] | None = None
        self.branches = 0
        self.budget = _BUDGET

    # Names from the command line

    def give(self, name: str, text: str) -> None:
        """Set a name from the command line: a number, a quoted string or a list as in a file, or else the bare text."""
        source = Source(f"{name}={text}", "command line")
        if not (name.isascii() and name.isidentifier()):
            source.report(1, 1, f"'{name}' is not a name", hint="KEY=VALUE, as in memory=512")
        elif text[:1] in ("'", '"', "[", "("):
            alone = _Interpreter(source, {})
            alone.block(parse(source))
            self.names.update(alone.names)
        else:
            refuse_control_characters(source)
            at = Token(Kind.STRING, text, 1, len(name) + 1)  # where the opening quote would be
            value = _integer(text) if _BARE_NUMBER.fullmatch(text) else text
            self.names[name] = Assigned(value, Literal(at, value, exact=True), at, source)
        if source.problems:
            self.broken.add(name)
            self.names.pop(name, None)
            self.source.problems += source.problems

    # Statements

    def block(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            if self.locals is not None:
                self.run(statement)
                continue
            try:
                self.run(statement)
            except Trouble as trouble:
                self.source.report_trouble(trouble)
                self.broken.update(_assigned([statement]))

    def run(self, statement: Statement) -> None:
        self.charge(statement.at, 1)
        match statement:
            case Assign(at, node, None):
                self.assign(at, node, self.value(node))
            case Assign(at, node, Token() as plus):
                self.assign(at, node, self.apply(plus, self.value(Name(at)), self.value(node)))
            case If(branches=branches):
                self.if_(branches)
            case Define(at):
                self.checks[at.text] = statement
            case Declare(at):
                self.declared[str(at.value)] = statement
            case CheckAll():
                self.check_declared()
            case Refuse():
                raise _CheckFailed
            case Return(_, node):
                raise _Returned(self.value(node))

    def assign(self, at: Token, node: Node, value: Value) -> None:
        if self.locals is not None:
            self.locals[at.text] = value
        elif at.text not in self.given:
            before = self.names.get(at.text)
            again = before.at if before and not self.branches and at.text not in self.read else None
            self.names[at.text] = Assigned(value, node, at, self.source, again)
            self.broken.discard(at.text)

    def if_(self, branches: Iterable[tuple[Node | None, tuple[Statement, ...]]]) -> None:
        for condition, body in branches:
            if condition is None or self.value(condition):
                self.branches += 1
                try:
                    self.block(body)
                finally:
                    self.branches -= 1
                return

    # Variables that the file declares, and its checks of them

    def check_declared(self) -> None:
        """Give each variable that was declared since the last time its value."""
        declared, self.declared = self.declared, {}
        for name, declaration in declared.items():
            try:
                value = self.declared_value(name, declaration)
            except Trouble as trouble:
                self.source.report_trouble(trouble)
                self.broken.add(name)
                self.names.pop(name, None)
            else:
                at = declaration.at
                self.names[name] = Assigned(value, Literal(at, ""), at, self.source)
            self.read.add(name)

    def declared_value(self, name: str, declaration: Declare) -> Value:
        use = self.value(declaration.use) if declaration.use else ""
        at, hint = declaration.at, f"{use} Give it on the command line: {name}=VALUE".strip()
        if name not in self.given:
            if declaration.default is None:
                raise self.source.trouble(at.line, at.column, f"the variable '{name}' has no value", hint=hint)
            return self.value(declaration.default)
        if name not in self.names:
            raise Trouble
        if declaration.check is None:
            return self.names[name].value
        check = self.checks.get(declaration.check.text)
        if check is None:
            raise self.trouble(declaration.check, f"there is no check '{declaration.check.text}' above")
        if len(check.parameters) != 2:
            raise self.trouble(
                check.at, f"the check '{check.at.text}' must have two parameters: the name and the value"
            )
        try:
            return self.call(check, name, self.given[name])
        except (_CheckFailed, Trouble) as error:
            if isinstance(error, Trouble) and self.budget <= 0:
                raise
            text = f"the value '{self.given[name]}' of '{name}' is refused by '{check.at.text}'"
            raise self.source.trouble(at.line, at.column, text, hint=hint) from error

    def call(self, check: Define, *arguments: Value) -> Value:
        self.locals = {parameter.text: value for parameter, value in zip(check.parameters, arguments, strict=True)}
        try:
            self.block(check.body)
        except _Returned as returned:
            return returned.value
        finally:
            self.locals = None
        return None

    # Values

    def value(self, node: Node) -> Value:
        self.charge(node.at, 1)
        match node:
            case Literal(_, value):
                result: Value = value
            case Name(at):
                return self.lookup(at)
            case Items(_, items, is_tuple):
                values = [self.value(item) for item in items]
                result = tuple(values) if is_tuple else values
            case Convert(at, operand):
                result = self.convert(at, self.value(operand))
            case Unary(at, operand):
                result = self.unary(at, self.value(operand))
            case Chain():
                return self.chain(node)
        return self.bounded(node.at, result)

    def lookup(self, at: Token) -> Value:
        if self.locals is not None and at.text in self.locals:
            return self.locals[at.text]
        self.read.add(at.text)
        if at.text in self.names:
            return self.names[at.text].value
        if at.text in self.broken:
            raise Trouble
        self.broken.add(at.text)  # said once
        like = difflib.get_close_matches(at.text, list(self.names)[:_SUGGESTED_FROM], n=1)
        hint = f"did you mean '{like[0]}'?" if like else f"give it on the command line: {at.text}=VALUE"
        raise self.trouble(at, f"'{at.text}' has no value", hint)

    def convert(self, at: Token, value: Value) -> Value:
        if isinstance(value, (list, tuple)):
            raise self.trouble(at, f"{at.text}() of a list is not supported")
        if at.text == "str":
            return str(value)
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", value, re.ASCII):
            return int(value)
        if isinstance(value, (int, float)):
            return int(value)
        raise self.trouble(at, f"int() of {_shown(value)} has no value")

    def unary(self, at: Token, value: Value) -> Value:
        if at.text == "not":
            return not value
        if not isinstance(value, (int, float)):
            raise self.trouble(at, f"'{at.text}' needs a number, not {_shown(value)}")
        return -value if at.text == "-" else +value

    def chain(self, chain: Chain) -> Value:
        value = self.value(chain.first)
        for operator, node in chain.rest:
            if operator.text in ("and", "or"):
                if bool(value) == (operator.text == "or"):
                    return value
                value = self.value(node)
            elif operator.text in _COMPARE:
                if len(chain.rest) > 1:
                    raise self.trouble(operator, "comparing more than two values at once is not supported")
                return self.compare(operator, value, self.value(node))
            else:
                value = self.apply(operator, value, self.value(node))
        return value

    def compare(self, at: Token, left: Value, right: Value) -> bool:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if not numbers and not (isinstance(left, str) and isinstance(right, str)) and at.text not in ("==", "!="):
            raise self.trouble(at, f"{_shown(left)} and {_shown(right)} have no order")
        return bool(_COMPARE[at.text](left, right))

    def apply(self, at: Token, left: Value, right: Value) -> Value:
        """One arithmetical operation, its result within bounds."""
        if at.text == "%" and isinstance(left, str):
            return self.bounded(at, self.format(at, left, right))
        if at.text == "*" and isinstance(left, int) and isinstance(right, (str, list, tuple)):
            left, right = right, left
        if at.text == "*" and isinstance(left, (str, list, tuple)) and isinstance(right, int):
            if len(left) * right > _LONGEST_STRING:
                raise self.trouble(at, f"a result longer than {_LONGEST_STRING} is not supported")
            return self.bounded(at, left * right)
        if at.text == "+":
            for kind in (str, list, tuple):
                if isinstance(left, kind) and isinstance(right, kind):
                    return self.bounded(at, left + right)  # type: ignore[operator]
        if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise self.trouble(at, f"'{at.text}' of {_shown(left)} and {_shown(right)} is not supported")
        both_whole = isinstance(left, int) and isinstance(right, int)
        compute = operators.floordiv if at.text == "/" and both_whole else _COMPUTE[at.text]  # as in Python 2
        try:
            return self.bounded(at, compute(left, right))
        except (ZeroDivisionError, OverflowError) as error:
            raise self.trouble(at, "division by zero" if right == 0 else "this number is too large") from error

    def format(self, at: Token, template: str, argument: Value) -> str:
        arguments = list(argument) if isinstance(argument, tuple) else [argument]
        pieces: list[str] = []
        wanted = end = 0
        for match in _FORMAT.finditer(template):
            pieces.append(template[end : match.start()])
            end = match.end()
            if match["letter"] == "%":
                pieces.append("%")
                continue
            if (match["letter"] or "end") not in _FORMATS:
                raise self.trouble(at, f"the format '{match[0]}' is not supported", "%s, %d, %x, %o, %f, %e and %g are")
            if max(int(match["width"] or 0), int(match["precision"] or 0)) > _WIDEST_FIELD:
                raise self.trouble(at, f"a format wider than {_WIDEST_FIELD} ('{match[0]}') is not supported")
            wanted += 1
            if wanted <= len(arguments):
                pieces.append(self.format_one(at, match, arguments[wanted - 1]))
        if wanted != len(arguments):
            raise self.trouble(at, f"the text has {wanted} format(s) and is given {len(arguments)} value(s)")
        return "".join(pieces) + template[end:]

    def format_one(self, at: Token, match: re.Match[str], value: Value) -> str:
        kinds = _FORMATS[match["letter"]]
        if not isinstance(value, kinds):
            raise self.trouble(at, f"the format '{match[0]}' does not fit {_shown(value)}")
        return str(match[0] % (value,))

    # Bounds

    def bounded(self, at: Token, value: Value) -> Value:
        if isinstance(value, float) and not math.isfinite(value):
            raise self.trouble(at, "this number is too large")
        if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
            raise self.trouble(at, "this number is too large")
        if isinstance(value, str) and len(value) > _LONGEST_STRING:
            raise self.trouble(at, f"a string longer than {_LONGEST_STRING} characters is not supported")
        self.charge(at, self.size(at, value, 0))
        return value

    def size(self, at: Token, value: Value, depth: int) -> int:
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, (list, tuple)):
            return 1
        if depth == _DEEPEST_LIST:
            raise self.trouble(at, f"lists nested deeper than {_DEEPEST_LIST} levels are not supported")
        total = 1
        for item in value:
            total += self.size(at, item, depth + 1)
            if total > self.budget:
                break
        return total

    def charge(self, at: Token, cost: int) -> None:
        if self.budget <= 0:
            raise Trouble
        self.budget -= cost
        if self.budget <= 0:
            raise self.trouble(at, "this configuration computes more than is supported")

    def trouble(self, at: Token, text: str, hint: str | None = None) -> Trouble:
        return self.source.trouble(at.line, at.column, text, hint=hint)


_COMPARE: dict[str, Callable[..., object]] = {
    "==": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}
_COMPUTE: dict[str, Callable[[int | float, int | float], int | float]] = {
    "+": operators.add,
    "-": operators.sub,
    "*": operators.mul,
    "/": operators.truediv,
    "//": operators.floordiv,
    "%": operators.mod,
}
_NUMBER, _SCALAR = (int, float), (str, int, float, type(None))
_FORMATS: dict[str, tuple[type, ...]] = (
    {"s": _SCALAR} | dict.fromkeys("diufFeEgG", _NUMBER) | dict.fromkeys("xXo", (int,))
)


def _integer(text: str) -> int:
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return f"'{value[:40]}'"
    return "a list" if isinstance(value, (list, tuple)) else str(value)


def _assigned(statements: Iterable[Statement]) -> Iterable[str]:
    """The names that these statements would have given a value."""
    for statement in statements:
        if isinstance(statement, Assign):
            yield statement.at.text
        elif isinstance(statement, If):
            for _, body in statement.branches:
                yield from _assigned(body)
