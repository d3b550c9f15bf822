"""Writes `probes.md` beside itself: the shipped probes, by what their own files say of them."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gridvisor.probe.run import SUITES

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# The shipped probes

`gridvisor check --live` runs these on a site that is up, in this order; `-k NAME` some of them. `make docs` writes this
page from the probes' own files. [Write a probe of your own](../how-to/write-a-probe.md) says what is passed, failed,
blocked or an error. "Needs" names probes without which one is not begun. A probe that is for each machine of a role
also needs `answers` of that machine.
"""


def page() -> str:
    """The page's text."""
    return "\n".join([HEAD, *(line for suite in SUITES for line in _section(suite))]).rstrip("\n") + "\n"


def _section(suite: str) -> Iterator[str]:
    """The lines of one suite: what it is about, for what machines, and each of its probes."""
    module = importlib.import_module(f"gridvisor.probe.suites.test_{suite}")
    about, _, more = (module.__doc__ or "").partition("\n")
    yield f"## {suite}\n"
    yield _filled(about)
    if more.strip():
        yield "\n" + _filled(more)
    if where := "\n\n".join(_scope(mark) for mark in _marks(module)):
        yield f"\n{where}"
    yield ""
    for name, function in vars(module).items():
        if name.startswith("test_") and callable(function):
            yield _item(name.removeprefix("test_"), function)
    yield ""


def _scope(mark: pytest.Mark) -> str:
    """What a mark of a whole suite means."""
    if mark.name == "role":
        return f"For each machine of the role `{mark.args[0]}`." if mark.args else "For every machine."
    return _filled(f"All of them need {_names(mark)}.")


def _item(name: str, function: Callable[..., object]) -> str:
    says = [f"`{name}`: {' '.join((function.__doc__ or '').split())}"]
    for mark in _marks(function):
        if mark.name == "parametrize":
            says.append(f"For {', '.join(f'`{value}`' for value in mark.args[1])}.")
        elif mark.name == "needs":
            says.append(f"Needs {_names(mark)}.")
    return _filled(" ".join(says), "- ")


def _marks(owner: ModuleType | Callable[..., object]) -> list[pytest.Mark]:
    """The marks of a file (its `pytestmark`, one or a list) or of a function."""
    found = getattr(owner, "pytestmark", [])
    return [
        one if isinstance(one, pytest.Mark) else one.mark for one in (found if isinstance(found, list) else [found])
    ]


def _names(mark: pytest.Mark) -> str:
    return ", ".join(f"`{name}`" for name in mark.args)


def _filled(text: str, lead: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        120,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    PAGE.write_text(page())
