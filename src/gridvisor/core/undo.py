"""An undo stack: what a story made is taken back when the story fails, whatever else fails meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType


class Undo:
    """A context: on success everything stays, on an error every registered undo runs, newest first.

    An undo may be registered before its act, so it must bear that there is nothing to undo. An undo that
    fails is told to `say` and the others still run. With `keep`, nothing is undone and `say` names what stays.
    """

    def __init__(self, say: Callable[[str], None], *, keep: bool = False) -> None:
        self._stack = ExitStack()
        self._say = say
        self._keep = keep
        self._what: list[str] = []

    def add(self, what: str, undo: Callable[[], object]) -> None:
        """Register `undo`, which takes back `what`."""

        def safely() -> None:
            try:
                undo()
            except Exception as error:  # an undo must not stop the others
                self._say(f"could not undo {what}: {error}")

        self._what.append(what)
        self._stack.callback(safely)

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._stack.pop_all()
        elif self._keep:
            self._stack.pop_all()
            self._say("kept for inspection: " + ", ".join(self._what))
        else:
            self._stack.close()
