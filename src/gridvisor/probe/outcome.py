"""What came of a probe. 'The site said no' and 'our tools broke' are told apart by what was raised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gridvisor.core.errors import ExitCode, SystemSaidNo

BLOCKED = "blocked by "


class Outcome(StrEnum):
    """Of a probe that ran to its end, was not begun, or broke."""

    PASSED = "passed"
    FAILED = "failed"  # the site does not do what it should
    BLOCKED = "blocked"  # another probe, which this one needs, did not pass
    ERROR = "error"  # the probe itself or gridvisor broke: nothing is known of the site
    SKIPPED = "skipped"  # does not apply; the reason says why


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A probe with its outcome. `probe` is its name without 'test_', `title` its first sentence, `why` what it said."""

    suite: str
    probe: str
    outcome: Outcome
    seconds: float
    title: str = ""
    why: str = ""


def is_said_by_site(error: BaseException) -> bool:
    """True for an error that tells of the site: an assertion that did not hold, or SystemSaidNo."""
    return isinstance(error, AssertionError | SystemSaidNo)


def exit_code(results: Iterable[ProbeResult]) -> ExitCode:
    """1 when the site said no, else 3 when something of ours broke, else 0."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return ExitCode.SAID_NO
    return ExitCode.INFRASTRUCTURE if Outcome.ERROR in outcomes else ExitCode.OK
