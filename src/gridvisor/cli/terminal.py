"""What the terminal shows of events: a line a step, on stderr, with a mark and its seconds."""

from __future__ import annotations

import sys
from typing import TextIO

from gridvisor.core.events import Event, Kind

_MARKS = {Kind.DONE: ("✓", "32"), Kind.FAILED: ("✗", "31"), Kind.WARNING: ("!", "33"), Kind.NOTE: ("·", "2")}
_SHOWN_AFTER_S = 0.02  # a step that took less did nothing worth a line


class Terminal:
    """A sink for people. On a terminal the running step is shown too, and overwritten when it ends."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty()

    def __call__(self, event: Event) -> None:
        where = f"{event.where}: " if event.where else ""
        if event.kind is Kind.STARTED:
            if self._live:
                self._stream.write(f"\r\033[K… {where}{event.step}")
                self._stream.flush()
            return
        clear = "\r\033[K" if self._live else ""
        if event.kind is Kind.DONE and (event.seconds or 0) < _SHOWN_AFTER_S:
            self._stream.write(clear)
        else:
            mark, colour = _MARKS[event.kind]
            shown = f"\033[{colour}m{mark}\033[0m" if self._live else mark
            seconds = f"  {event.seconds:.1f} s" if event.seconds is not None else ""
            self._stream.write(f"{clear}{shown} {where}{event.step}{seconds}\n")
        self._stream.flush()
