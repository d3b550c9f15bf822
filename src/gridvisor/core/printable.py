"""Text that harms no reader: guests say what they like."""

from __future__ import annotations

import re

# All that XML 1.0 does not take, and what a terminal would obey.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """The text without what a terminal would obey and XML would refuse; lines and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
