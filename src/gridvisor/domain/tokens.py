"""Cuts a configuration into words. What cannot be a word is reported, and the rest is still read.

This is our own and not Python's `ast`: xl's files are only nearly Python (`010` is octal), `ast` stops at the first
error, counts columns in bytes, and promises no safety against hostile text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gridvisor.domain.source import Source, is_control

DEEPEST_NESTING = 32
_TAB = 8  # Python 2's rule for indentation


class Kind(StrEnum):
    """What a word is. ERROR stands where something was reported: the statement it is in is not read."""

    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    MARK = "mark"
    NEWLINE = "end of line"
    INDENT = "indentation"
    DEDENT = "end of indentation"
    ERROR = "error"
    END = "end of file"


@dataclass(frozen=True, slots=True)
class Token:
    """A word at a place. `exact`: a string whose characters stand one by one after the quote, without escapes."""

    kind: Kind
    text: str
    line: int
    column: int
    value: str | int | float = ""
    exact: bool = False


_WORD = re.compile(
    r"""
    (?P<space> [ \t\f]+ | \\\n )
  | (?P<comment> \#[^\n]* )
  | (?P<newline> \n )
  | (?P<prefixed> [A-Za-z]{1,2} (?=['"]) )
  | (?P<triple> ''' | \"\"\" )
  | (?P<string> '[^'\\\n]*(?:\\.[^'\\\n]*)*' | "[^"\\\n]*(?:\\.[^"\\\n]*)*" )
  | (?P<quote> ['"][^\n]* )
  | (?P<number> (?: \d | \.\d ) (?: [eE][+-]\d | [\w.] )* )
  | (?P<name> [A-Za-z_]\w* )
  | (?P<mark> \*\*=? | //=? | <<=? | >>=? | [=!<>+\-*/%|&^]=? | [()\[\]{},:;.~@] )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""} | {
    c: c for c in "\\'\""
}
_INTEGER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0[oO]?[0-7]{0,22}|[1-9][0-9]{0,19}")
_FLOAT = re.compile(r"(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40}(?=[eE]))(?:[eE][+-]?[0-9]{1,3})?")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def tokenise(source: Source) -> list[Token]:
    """All words of the text, the last one END. Problems are noted in `source`."""
    refuse_control_characters(source)
    return _Cutter(source).cut()


class _Cutter:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens: list[Token] = []
        self.brackets: list[Token] = []
        self.indents = [0]
        self.line, self.line_start = 1, 0
        self.fresh_line = True

    def cut(self) -> list[Token]:
        text, position = self.source.text, 0
        while position < len(text):
            match = _WORD.match(text, position)
            assert match is not None, "the last alternative takes any character"
            kind, word, column = match.lastgroup, match[0], position - self.line_start + 1
            if kind not in ("space", "comment", "newline") and self.fresh_line:
                self._indent(text[self.line_start : position], column)
            position = match.end()
            if kind == "triple":
                end = text.find(word, position)
                position = len(text) if end < 0 else end + len(word)
                word = text[match.start() : position]
            if kind == "newline":
                self._newline(column)
            elif kind == "mark":
                if not self._mark(word, column):
                    break
            elif kind not in ("space", "comment"):
                self._word(kind or "other", word, column)
            if "\n" in word:
                self.line += word.count("\n")
                self.line_start = match.start() + word.rindex("\n") + 1
        for open_bracket in self.brackets[:1]:
            self.source.report(open_bracket.line, open_bracket.column, f"this '{open_bracket.text}' is never closed")
            self._add(Kind.ERROR, "", 1)
        column = len(text) - self.line_start + 1
        if not self.fresh_line:
            self._add(Kind.NEWLINE, "", column)
        for _ in self.indents[1:]:
            self._add(Kind.DEDENT, "", column)
        self._add(Kind.END, "", column)
        return self.tokens

    def _add(self, kind: Kind, text: str, column: int, value: str | int | float = "", *, exact: bool = False) -> None:
        self.tokens.append(Token(kind, text, self.line, column, value, exact))

    def _error(self, column: int, text: str, hint: str | None = None) -> None:
        self.source.report(self.line, column, text, hint=hint)
        self._add(Kind.ERROR, "", column)

    def _newline(self, column: int) -> None:
        if not self.brackets and not self.fresh_line:
            self._add(Kind.NEWLINE, "", column)
            self.fresh_line = True

    def _indent(self, space: str, column: int) -> None:
        self.fresh_line = False
        width = len(space.rpartition("\n")[2].expandtabs(_TAB))
        if width > self.indents[-1]:
            self.indents.append(width)
            self._add(Kind.INDENT, "", column)
        while width < self.indents[-1]:
            self.indents.pop()
            if width > self.indents[-1]:
                self.source.report(self.line, column, "this indentation fits no line above")
                self.indents.append(width)  # the block goes on
                break
            self._add(Kind.DEDENT, "", column)

    def _mark(self, mark: str, column: int) -> bool:
        if mark in _CLOSING:
            if len(self.brackets) == DEEPEST_NESTING:
                self._error(column, f"nesting deeper than {DEEPEST_NESTING} levels is not supported")
                self.brackets.clear()
                return False
            self.brackets.append(Token(Kind.MARK, mark, self.line, column))
        elif mark in _CLOSING.values():
            if not self.brackets or _CLOSING[self.brackets[-1].text] != mark:
                hint = f"'{self.brackets[-1].text}' of line {self.brackets[-1].line} is open" if self.brackets else None
                self._error(column, f"'{mark}' closes nothing", hint)
                return True
            self.brackets.pop()
        self._add(Kind.MARK, mark, column)
        return True

    def _word(self, kind: str, word: str, column: int) -> None:
        if kind == "name":
            self._add(Kind.NAME, word, column)
        elif kind == "string":
            self._string(word, column)
        elif kind == "number":
            self._number(word, column)
        elif kind == "prefixed":
            self._error(column, f"a string with the prefix '{word}' is not supported", "write it without the prefix")
        elif kind == "triple":
            self._error(column, "a string in triple quotes is not supported", "use one quote, or comments")
        elif kind == "quote":
            self._error(column, "this string has no closing quote on its line")
        elif not is_control(word):  # those are reported for the whole text
            self._error(column, f"the character '{word}' is not supported here")
        else:
            self._add(Kind.ERROR, "", column)

    def _string(self, word: str, column: int) -> None:
        body = word[1:-1]
        if "\\" not in body:
            self._add(Kind.STRING, word, column, body, exact=True)
            return
        for match in _ESCAPE.finditer(body):
            escape = match[1]
            if escape[0] == "x" and len(escape) == 3:
                code = int(escape[1:], 16)
            else:
                code = int(escape, 8) if escape[0] in "01234567" else -1
            control = code >= 0 and is_control(chr(code)) and chr(code) not in _ESCAPED.values()  # the writer's too
            if control or code > 0x7F or (code < 0 and escape not in _ESCAPED):
                hint = "write '\\\\' for a backslash; letters beyond ASCII stand for themselves, in UTF-8"
                self._error(column + 1 + match.start(), f"the escape '{match[0]}' is not supported", hint)
                return
        self._add(Kind.STRING, word, column, _ESCAPE.sub(_unescape, body))

    def _number(self, word: str, column: int) -> None:
        if _INTEGER.fullmatch(word):
            octal = word[0] == "0" and word[1:2].isdigit()  # as xl's strtol() and Python 2 read it
            self._add(Kind.NUMBER, word, column, int(word, 8 if octal else 0))
        elif _FLOAT.fullmatch(word):
            self._add(Kind.NUMBER, word, column, float(word))
        else:
            self._error(column, f"'{word[:40]}' is not a number that is supported")


def _unescape(match: re.Match[str]) -> str:
    escape = match[1]
    if escape[0] == "x":
        return chr(int(escape[1:], 16))
    return chr(int(escape, 8)) if escape[0] in "01234567" else _ESCAPED[escape]


def refuse_control_characters(source: Source) -> None:
    """Note each line of the text that has a control character."""
    for number, line in enumerate(source.text.split("\n"), start=1):
        if line.isascii() and line.isprintable():
            continue
        for column, character in enumerate(line, start=1):
            if is_control(character) and character not in "\t\f":
                what = f"control character U+{ord(character):04X} is not supported"
                source.report(number, column, what, hint="is this a text file?")
                break
