"""Reads words into statements: the subset of Python that xm's files used, of which xl's syntax is a part.

Nothing is computed here and nothing is executed anywhere: a statement that is not known by name is a problem.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass

from gridvisor.domain.source import Source, Trouble
from gridvisor.domain.tokens import DEEPEST_NESTING, Kind, Token, tokenise

_SUBSET = "a configuration is data: NAME = VALUE with strings, numbers, lists, % formatting and arithmetic"
_CONSTANTS: dict[str, bool | None] = {"None": None, "True": True, "False": False}
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written; `exact` as in Token."""

    at: Token
    value: str | int | float | bool | None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a variable."""

    at: Token


@dataclass(frozen=True, slots=True)
class Items:
    """A list or a tuple."""

    at: Token
    items: tuple[Node, ...]
    is_tuple: bool


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x` or `not x`."""

    at: Token
    operand: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """Operations of one precedence from left to right, flat: a sum of ten thousand terms is not deep."""

    at: Token
    first: Node
    rest: tuple[tuple[Token, Node], ...]


@dataclass(frozen=True, slots=True)
class Convert:
    """`int(x)` or `str(x)`: the only calls in an expression."""

    at: Token
    operand: Node


Node = Literal | Name | Items | Unary | Chain | Convert


@dataclass(frozen=True, slots=True)
class Assign:
    """`name = value`, or with `operator` '+' `name += value`."""

    at: Token
    value: Node
    operator: Token | None = None


@dataclass(frozen=True, slots=True)
class If:
    """`if`, its `elif`s, and `else` as a branch without condition."""

    at: Token
    branches: tuple[tuple[Node | None, tuple[Statement, ...]], ...]


@dataclass(frozen=True, slots=True)
class Define:
    """`def name(parameters)`: a check for `xm_vars.var`; nothing else can call it."""

    at: Token
    parameters: tuple[Token, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Declare:
    """`xm_vars.var('name', use=…, check=…, default=…)`; `at` is the string with the name."""

    at: Token
    use: Node | None
    check: Token | None
    default: Node | None


@dataclass(frozen=True, slots=True)
class CheckAll:
    """`xm_vars.check()`: the declared variables get their values from here on."""

    at: Token


@dataclass(frozen=True, slots=True)
class Refuse:
    """`raise …` within a check."""

    at: Token


@dataclass(frozen=True, slots=True)
class Return:
    """`return value` within a check."""

    at: Token
    value: Node


Statement = Assign | If | Define | Declare | CheckAll | Refuse | Return
_Operand = Callable[[], Node]


def parse(source: Source) -> tuple[Statement, ...]:
    """The statements of a file. What cannot be read is noted in `source` and left out."""
    return _Parser(source, tokenise(source)).file()


class _Parser:
    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source, self.tokens, self.position, self.depth = source, tokens, 0, 0
        self.in_definition = False

    # Words

    @property
    def here(self) -> Token:
        return self.tokens[self.position]

    def next(self) -> Token:
        token = self.here
        if token.kind is not Kind.END:
            self.position += 1
        return token

    def takes(self, *texts: str) -> Token | None:
        if self.here.kind in (Kind.MARK, Kind.NAME) and self.here.text in texts:
            return self.next()
        return None

    def expect(self, text: str, where: str) -> Token:
        return self.takes(text) or self._unexpected(f"'{text}' is missing {where}")

    def name(self, what: str) -> Token:
        token = self.here
        if token.kind is not Kind.NAME:
            self._unexpected(f"{what} is missing")
        if keyword.iskeyword(token.text):
            self._unsupported(token)
        return self.next()

    def _unexpected(self, text: str) -> Token:
        if self.here.kind is Kind.ERROR:
            raise Trouble
        raise self.source.trouble(self.here.line, self.here.column, text)

    def _unsupported(self, token: Token, what: str | None = None) -> None:
        text = f"{what or repr(token.text)} is not supported"
        raise self.source.trouble(token.line, token.column, text, hint=_SUBSET)

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST_NESTING:
            self._unsupported(self.here, f"nesting deeper than {DEEPEST_NESTING} levels")

    # Statements

    def file(self) -> tuple[Statement, ...]:
        statements: list[Statement] = []
        while self.here.kind is not Kind.END:
            statements += self.line()
        return tuple(statements)

    def line(self) -> list[Statement]:
        """The statements of one line, or one `if` or `def` with its block; none after a problem."""
        depth = self.depth
        try:
            if self.here.kind is Kind.INDENT:
                raise self.source.trouble(self.here.line, self.here.column, "this line is indented without reason")
            if self.here.kind is Kind.NAME and self.here.text in ("if", "def"):
                return [self.if_() if self.here.text == "if" else self.define()]
            return self.simple_line()
        except Trouble as trouble:
            self.source.report_trouble(trouble)
            self.depth = depth
            self._skip_statement()
            return []

    def _skip_statement(self) -> None:
        """Go on behind this line, and behind the block that belongs to it."""
        while self.here.kind not in (Kind.NEWLINE, Kind.END, Kind.INDENT, Kind.DEDENT):
            self.next()
        if self.here.kind in (Kind.NEWLINE, Kind.DEDENT):
            self.next()
        blocks = 0
        while self.here.kind is Kind.INDENT or (blocks and self.here.kind is not Kind.END):
            blocks += {Kind.INDENT: 1, Kind.DEDENT: -1}.get(self.next().kind, 0)

    def simple_line(self) -> list[Statement]:
        statements: list[Statement] = []
        while True:
            if self.here.kind is not Kind.NEWLINE and self.here.text != ";":
                statements += self.simple()
            if not self.takes(";"):
                break
        self.end_of_statement()
        return statements

    def end_of_statement(self) -> None:
        if self.here.kind not in (Kind.NEWLINE, Kind.END):
            token = self.here
            if token.kind is Kind.ERROR:
                raise Trouble
            if token.kind is Kind.NAME and keyword.iskeyword(token.text):
                self._unsupported(token)
            self._unexpected(f"'{token.text}' is not expected here")
        self.next()

    def simple(self) -> list[Statement]:
        token = self.here
        if self.takes("pass"):
            return []
        if token.kind is Kind.STRING:  # a text that describes the file, as in any Python file
            self.expression()
            return []
        if self.in_definition and self.takes("raise"):
            while self.here.kind not in (Kind.NEWLINE, Kind.END):  # what would be raised is of no interest
                self.next()
            return [Refuse(token)]
        if self.in_definition and self.takes("return"):
            return [Return(token, self.expression())]
        name = self.name("the name of a key")
        if name.text == "xm_vars" and self.takes("."):
            return [self.xm_vars()]
        if self.takes("="):
            return [Assign(name, self.expression())]
        if operator := self.takes("+="):
            return [Assign(name, self.expression(), Token(Kind.MARK, "+", operator.line, operator.column))]
        if self.here.text in ("(", ".", "["):
            self._unsupported(name, f"using '{name.text}' with '{self.here.text}'")
        if self.here.text.endswith("=") and self.here.kind is Kind.MARK:
            self._unsupported(self.here)
        self._unexpected(f"'=' is missing after '{name.text}'")
        raise AssertionError

    def xm_vars(self) -> Statement:
        verb = self.name("'var' or 'check' after 'xm_vars.'")
        if verb.text not in ("var", "check"):
            self._unsupported(verb, f"'xm_vars.{verb.text}'")
        self.expect("(", f"after 'xm_vars.{verb.text}'")
        if verb.text == "check":
            self.expect(")", "after 'xm_vars.check('")
            return CheckAll(verb)
        at = self.here
        if at.kind is not Kind.STRING or not str(at.value).isidentifier():
            self._unexpected("the name of a variable is missing, in quotes")
        self.next()
        use = default = check = None
        while self.takes(","):
            if self.here.text == ")":
                break
            argument = self.name("'use', 'check' or 'default'")
            self.expect("=", f"after '{argument.text}'")
            if argument.text == "use":
                use = self.expression()
            elif argument.text == "default":
                default = self.expression()
            elif argument.text == "check":
                check = self.name("the name of a check")
            else:
                self._unsupported(argument, f"'{argument.text}=' in 'xm_vars.var'")
        self.expect(")", "to close 'xm_vars.var('")
        return Declare(at, use, check, default)

    def if_(self) -> Statement:
        at = self.here
        branches: list[tuple[Node | None, tuple[Statement, ...]]] = []
        while self.takes("elif" if branches else "if"):
            condition = self.expression()
            branches.append((condition, self.block("the condition")))
        if self.takes("else"):
            branches.append((None, self.block("'else'")))
        return If(at, tuple(branches))

    def define(self) -> Statement:
        at = self.next()
        if self.in_definition or self.depth:
            self._unsupported(at, "a 'def' within a block")
        at = self.name("the name of the check")
        self.expect("(", f"after '{at.text}'")
        parameters: list[Token] = []
        while not self.takes(")"):
            parameters.append(self.name("the name of a parameter"))
            if self.here.text != ")":
                self.expect(",", "between the parameters")
        self.in_definition = True
        try:
            return Define(at, tuple(parameters), self.block(f"'{at.text}(…)'"))
        finally:
            self.in_definition = False

    def block(self, after: str) -> tuple[Statement, ...]:
        self.expect(":", f"after {after}")
        if self.here.kind is not Kind.NEWLINE:
            return tuple(self.simple_line())
        self.next()
        if self.next().kind is not Kind.INDENT:
            self.position -= 1
            self._unexpected("an indented block is missing")
        self._enter()
        statements: list[Statement] = []
        while self.here.kind not in (Kind.DEDENT, Kind.END):
            statements += self.line()
        self.next()
        self.depth -= 1
        return tuple(statements)

    # Expressions, by falling precedence of what they contain

    def expression(self) -> Node:
        self._enter()
        node = self._chain(lambda: self._chain(self.negation, ("and",)), ("or",))
        if self.here.kind is Kind.NAME and self.here.text in ("if", "for", "in", "is", "not", "lambda"):
            self._unsupported(self.here, f"'{self.here.text}' in an expression")
        self.depth -= 1
        return node

    def _chain(self, operand: _Operand, operators: tuple[str, ...]) -> Node:
        at, first = self.here, operand()
        rest: list[tuple[Token, Node]] = []
        while operator := self.takes(*operators):
            rest.append((operator, operand()))
        return Chain(at, first, tuple(rest)) if rest else first

    def negation(self) -> Node:
        if at := self.takes("not"):
            self._enter()
            operand = self.negation()
            self.depth -= 1
            return Unary(at, operand)
        return self._chain(self.sum, _COMPARISONS)

    def sum(self) -> Node:
        return self._chain(self.term, ("+", "-"))

    def term(self) -> Node:
        return self._chain(self.signed, ("*", "/", "//", "%"))

    def signed(self) -> Node:
        if at := self.takes("-", "+"):
            self._enter()
            operand = self.signed()
            self.depth -= 1
            return Unary(at, operand)
        node = self.atom()
        what = {"**": "raising to a power", ".": "an attribute", "[": "an index", "(": "a call", "{": "a set"}
        if self.here.kind is Kind.MARK and self.here.text in what:
            self._unsupported(self.here, f"{what[self.here.text]} ('{self.here.text}')")
        return node

    def atom(self) -> Node:
        token = self.here
        if token.kind is Kind.NUMBER:
            return Literal(self.next(), token.value)
        if token.kind is Kind.STRING:
            return self.string()
        if token.kind is Kind.MARK and token.text in ("[", "("):
            return self.items()
        if token.kind is not Kind.NAME:
            if token.kind is Kind.MARK and token.text in "{~":
                self._unsupported(token)
            self._unexpected("a value is missing")
        if token.text in _CONSTANTS:
            return Literal(self.next(), _CONSTANTS[token.text])
        name = self.name("a value")
        if name.text in ("int", "str") and self.takes("("):
            operand = self.expression()
            self.expect(")", f"to close '{name.text}('")
            return Convert(name, operand)
        if self.here.text == "(":
            self._unsupported(name, f"calling '{name.text}'")
        return Name(name)

    def string(self) -> Node:
        parts = [self.next()]
        while self.here.kind is Kind.STRING:
            parts.append(self.next())
        text = "".join(str(part.value) for part in parts)
        return Literal(parts[0], text, exact=len(parts) == 1 and parts[0].exact)

    def items(self) -> Node:
        at = self.next()
        close = "]" if at.text == "[" else ")"
        items: list[Node] = []
        comma = False
        while self.here.text != close or self.here.kind is not Kind.MARK:
            items.append(self.expression())
            comma = bool(self.takes(","))
            if not comma:
                break
        self.expect(close, f"to close '{at.text}', or ',' before the next value")
        if at.text == "(" and len(items) == 1 and not comma:
            return items[0]
        return Items(at, tuple(items), at.text == "(")
