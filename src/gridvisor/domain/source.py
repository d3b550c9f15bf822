"""The text of a configuration file, and the problems found in it so far."""

from __future__ import annotations

import unicodedata

from gridvisor.core.errors import InputError, Problem, Span

LARGEST_BYTES = 256 * 1024
_SHOWN_PROBLEMS = 20
_LONGEST_SHOWN_LINE = 200
_LONGEST_SHOWN_TEXT = 400
_MOST_PROBLEMS = 1000


class Trouble(Exception):
    """One statement cannot be read. Without a problem: what is wrong has been reported already."""

    def __init__(self, problem: Problem | None = None) -> None:
        super().__init__(problem.text if problem else "reported already")
        self.problem = problem


class Source:
    """A text with its name; collects problems, so that all of a file are shown at once."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self.problems: list[Problem] = []
        self._lines = self.text.split("\n")

    def problem(self, line: int, column: int, text: str, *, hint: str | None = None) -> Problem:
        """A problem at a place of this text (both counted from 1), with the line if it can be shown."""
        source = self._lines[line - 1] if line <= len(self._lines) else None
        if source is not None and len(source) > _LONGEST_SHOWN_LINE:
            source = None
        if len(text) > _LONGEST_SHOWN_TEXT:
            text = f"{text[:_LONGEST_SHOWN_TEXT]}…"
        return Problem(Span(self.path, line, column), shown(text), hint and shown(hint), source and shown(source))

    def trouble(self, line: int, column: int, text: str, *, hint: str | None = None) -> Trouble:
        """The same as an exception that ends the reading of one statement."""
        return Trouble(self.problem(line, column, text, hint=hint))

    def report(self, line: int, column: int, text: str, *, hint: str | None = None) -> None:
        """Note a problem and go on."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.add(self.problem(line, column, text, hint=hint))

    def add(self, problem: Problem) -> None:
        """Note a problem that was made already; the thousandth of a hostile file is of no interest."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def report_trouble(self, trouble: Trouble) -> None:
        """Note what ended a statement, unless that was noted before."""
        if trouble.problem is not None:
            self.add(trouble.problem)

    def raise_problems(self) -> None:
        """Raise InputError if anything was noted: the first ones, and that there are more."""
        if not self.problems:
            return
        first = sorted(self.problems, key=lambda problem: problem.span)
        if len(first) > _SHOWN_PROBLEMS:
            last = first[_SHOWN_PROBLEMS - 1].span
            first = [
                *first[:_SHOWN_PROBLEMS],
                Problem(Span(last.path, last.line, last.column + 1), "more problems follow"),
            ]
        raise InputError(first)


def is_control(character: str) -> bool:
    """True for what could steer a terminal or end a C string: C0, DEL and C1 (Unicode's category Cc)."""
    return unicodedata.category(character) == "Cc"


def shown(text: str) -> str:
    """The text, each control character but a tab replaced by one mark, so that carets still point right."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if is_control(c) and c != "\t" else c for c in text)
