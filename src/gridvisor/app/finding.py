"""What was looked at before anything is asked of it, and the command that mends what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether a thing is as guests need it."""

    GOOD = "ok"
    MISSING = "missing"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `mend` is the command that sets it right."""

    what: str
    verdict: Verdict
    says: str
    mend: str | None = None
