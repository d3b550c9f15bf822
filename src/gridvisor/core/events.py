"""One stream of events; the terminal, `events.jsonl` and whatever else shows progress are its sinks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What an event says of its step."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    NOTE = "note"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: which step, at which machine (`where`), when (seconds since the epoch)."""

    kind: Kind
    step: str
    where: str = ""
    detail: str = ""
    seconds: float | None = None
    at_s: float = field(default_factory=time.time)


Sink = Callable[[Event], None]


class Bus:
    """Hands every event to every sink, one event at a time."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Hand `event` to all sinks."""
        with self._lock:
            for sink in self._sinks:
                sink(event)

    def note(self, text: str, *, where: str = "") -> None:
        """Tell something that is not a step."""
        self.emit(Event(Kind.NOTE, text, where))

    def warn(self, text: str, *, where: str = "") -> None:
        """Tell something that the user should look at."""
        self.emit(Event(Kind.WARNING, text, where))

    @contextmanager
    def step(self, name: str, *, where: str = "") -> Iterator[None]:
        """Report the start and the end of the body, with its seconds; errors pass through."""
        self.emit(Event(Kind.STARTED, name, where))
        began_s = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.emit(Event(Kind.FAILED, name, where, str(error), time.monotonic() - began_s))
            raise
        self.emit(Event(Kind.DONE, name, where, "", time.monotonic() - began_s))


class JsonLines:
    """A sink that appends each event to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def __call__(self, event: Event) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
