"""Progress of a site on a terminal: one live line for each machine, with the step that it is in and its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gridvisor.core.events import Event, Kind


@dataclass
class _Line:
    step: str
    began_s: float
    mark: str = "…"
    ended_s: float | None = None
    note: str = ""


class Board:
    """A sink. What is not about a machine of the site is a line of its own above the board."""

    def __init__(self, names: list[str]) -> None:
        self._console = Console(file=sys.stderr)
        self._began_s = time.monotonic()
        self._lines: dict[str, _Line | None] = dict.fromkeys(names)
        self._width = max((len(name) for name in names), default=0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the board on the terminal while the body runs."""
        with Live(self, console=self._console, refresh_per_second=8):
            yield

    def __call__(self, event: Event) -> None:
        if event.where not in self._lines:
            self._tell(event)
            return
        line = self._lines[event.where]
        if event.kind is Kind.STARTED:
            self._lines[event.where] = _Line(event.step, line.began_s if line else time.monotonic())
        elif line is None or event.kind is Kind.WARNING:
            self._tell(event)
        elif event.kind is Kind.NOTE:
            line.note = event.step
        elif event.step == line.step:
            line.mark = "[green]✓[/]" if event.kind is Kind.DONE else "[red]✗[/]"
            line.note, line.ended_s = "", time.monotonic()

    def __rich__(self) -> Table:
        """The board as it is now."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column()
        grid.add_column(min_width=self._width)
        grid.add_column(justify="right", min_width=7)
        grid.add_column(overflow="ellipsis", no_wrap=True)
        for name, line in self._lines.items():
            if line is None:
                grid.add_row(" ", f"[dim]{name}[/]", "", "[dim]nothing to do[/]")
                continue
            seconds = (line.ended_s or time.monotonic()) - line.began_s
            text = f"{line.step}[dim] · {_plain(line.note)}[/]" if line.note else line.step
            grid.add_row(line.mark, name, f"{seconds:.1f} s", text)
        return grid

    def _tell(self, event: Event) -> None:
        marks = {Kind.DONE: "[green]✓[/]", Kind.FAILED: "[red]✗[/]", Kind.WARNING: "[yellow]![/]", Kind.NOTE: "·"}
        if event.kind is Kind.STARTED or (event.kind is Kind.DONE and (event.seconds or 0) < 0.5):
            return
        seconds = f"  {event.seconds:.1f} s" if event.seconds is not None else ""
        where = f"{event.where}: " if event.where else ""
        self._console.print(f"{marks[event.kind]} {_plain(where + event.step)}{seconds}", highlight=False)


def _plain(text: str) -> str:
    """`text` with what rich would take for markup made plain."""
    return text.replace("[", r"\[")
