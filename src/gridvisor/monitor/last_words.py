"""What of a guest's console tells why it ended."""

from __future__ import annotations

LAST_LINES = 15

_PANIC = "Kernel panic"


def last_words(said: str) -> str:
    """The last lines of the text, indented for an error's message.

    They end with the kernel's own words of a panic: the reason comes before those, and after them only its stack.
    """
    lines = said.splitlines()
    panic = next((number for number, line in enumerate(lines, start=1) if _PANIC in line), len(lines))
    return "\n".join(f"    | {line}" for line in lines[:panic][-LAST_LINES:])
