"""What a user sees of events: on a terminal, and in a file."""

from __future__ import annotations

import io

import pytest

from gridvisor.cli.terminal import Terminal
from gridvisor.core.events import Bus, Event, Kind


class Tty(io.StringIO):
    """A stream that is a terminal, and what stands on its lines when all was written."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        lines = [""]
        for part in self.getvalue().replace("\r\033[K", "\r").splitlines(keepends=True):
            text = part.rstrip("\r\n")
            lines[-1] = text if part.startswith("\r") or not lines[-1] else lines[-1] + text
            if part.endswith("\r"):
                lines[-1] = ""
            if part.endswith("\n"):
                lines.append("")
        return lines


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")


def done(step: str, seconds: float = 1.5, kind: Kind = Kind.DONE) -> Event:
    return Event(kind, step, "vm1", "", seconds)


def test_a_file_gets_a_line_for_each_step_that_did_something() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal(Event(Kind.STARTED, "volumes", "vm1"))
    terminal(done("volumes"))
    terminal(Event(Kind.STARTED, "nothing", "vm1"))
    terminal(done("nothing", 0.001))
    terminal(Event(Kind.WARNING, "look at this"))
    terminal(done("domain", 0.001, Kind.FAILED))
    assert stream.getvalue() == "✓ vm1: volumes  1.5 s\n! look at this\n✗ vm1: domain  0.0 s\n"


def test_the_running_step_stands_last_and_goes_with_its_end() -> None:
    stream = Tty()
    terminal = Terminal(stream)
    terminal(Event(Kind.STARTED, "image", "vm1"))
    assert stream.lines() == ["… vm1: image"]
    terminal(Event(Kind.STARTED, "packages"))
    assert stream.lines() == ["… packages"]
    terminal(Event(Kind.DONE, "packages", seconds=2.0))
    assert stream.lines() == ["✓ packages  2.0 s", "… vm1: image"], "the outer step is still running"
    terminal(Event(Kind.NOTE, "a note"))
    assert stream.lines() == ["✓ packages  2.0 s", "· a note", "… vm1: image"]
    terminal(done("image"))
    assert stream.lines() == ["✓ packages  2.0 s", "· a note", "✓ vm1: image  1.5 s", ""]


def test_a_step_that_fails_leaves_its_line_and_nothing_else() -> None:
    stream = Tty()
    with pytest.raises(ValueError, match="no"), Bus(Terminal(stream)).step("domain", where="vm1"):
        raise ValueError("no")
    assert stream.lines() == ["✗ vm1: domain  0.0 s", ""]


def test_a_running_step_never_wraps() -> None:
    stream = Tty()
    Terminal(stream)(Event(Kind.STARTED, "a very long step " * 9))
    assert len(stream.lines()[-1]) < 40


def test_colour_is_only_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Tty(), io.StringIO()):
        Terminal(stream)(Event(Kind.NOTE, "plain"))
        assert "\033[2m" not in stream.getvalue()
    monkeypatch.delenv("NO_COLOR")
    coloured, file = Tty(), io.StringIO()
    for stream in (coloured, file):
        Terminal(stream)(Event(Kind.NOTE, "bright"))
    assert "\033[2m·\033[0m" in coloured.getvalue()
    assert "\033" not in file.getvalue()
