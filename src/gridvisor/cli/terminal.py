"""What the terminal shows of events: a line a step, on stderr, with a mark and its seconds."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from gridvisor.core.events import Event, Kind
from gridvisor.core.printable import printable

_MARKS = {Kind.DONE: ("✓", "32"), Kind.FAILED: ("✗", "31"), Kind.WARNING: ("!", "33"), Kind.NOTE: ("·", "2")}
_SHOWN_AFTER_S = 0.02  # a step that took less did nothing worth a line


class Terminal:
    """A sink for people. On a terminal the step that runs is shown too, on a last line that gives way to all others."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._running: list[str] = []

    def __call__(self, event: Event) -> None:
        text = printable(f"{event.where}: {event.step}" if event.where else event.step)
        if event.kind is Kind.STARTED:
            self._running.append(text)
        elif text in self._running and event.seconds is not None:
            self._running.remove(text)
        clear = "\r\033[K" if self._live else ""
        self._stream.write(clear + self._line(event, text) + self._last_line())
        self._stream.flush()

    def _line(self, event: Event, text: str) -> str:
        if event.kind is Kind.STARTED or (event.kind is Kind.DONE and (event.seconds or 0) < _SHOWN_AFTER_S):
            return ""
        mark, colour = _MARKS[event.kind]
        shown = f"\033[{colour}m{mark}\033[0m" if self._colour else mark
        seconds = f"  {event.seconds:.1f} s" if event.seconds is not None else ""
        return f"{shown} {text}{seconds}\n"

    def _last_line(self) -> str:
        """The step that began last and has not ended; cut, since a line that wraps cannot be taken back."""
        if not (self._live and self._running):
            return ""
        return f"… {self._running[-1]}"[: shutil.get_terminal_size().columns - 1]
