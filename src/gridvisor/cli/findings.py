"""How findings of probes are shown: a line for each as it comes, what a bad one said below it, and a sum at the end."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import typer

from gridvisor.core.units import counted
from gridvisor.probe.outcome import Finding, Outcome

_MARKS = {
    Outcome.PASSED: ("✓", 32),
    Outcome.FAILED: ("✗", 31),
    Outcome.ERROR: ("!", 35),
    Outcome.BLOCKED: ("-", 33),
    Outcome.SKIPPED: ("·", 2),
}
_LINES = 8  # of what a probe said


@dataclass
class FindingLines:
    """The lines on the terminal; with `quiet`, none."""

    quiet: bool = False
    _suite: str = field(default="", init=False)

    def show(self, finding: Finding) -> None:
        """Print the line of `finding`, and its suite's name before the first of them."""
        if self.quiet:
            return
        if finding.suite != self._suite:
            self._suite = finding.suite
            typer.echo(finding.suite)
        mark, colour = _MARKS[finding.outcome]
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            mark = f"\033[{colour}m{mark}\033[0m"
        note = finding.why if finding.outcome in (Outcome.BLOCKED, Outcome.SKIPPED) else f"{finding.seconds:6.1f} s"
        typer.echo(f"  {mark} {finding.probe:<34} {note}")
        if finding.outcome in (Outcome.FAILED, Outcome.ERROR):
            typer.echo(f"      {finding.title}")
            for line in finding.why.splitlines()[:_LINES]:
                typer.echo(f"      | {line}")

    def summary(self, found: Sequence[Finding]) -> str:
        """'52 probes in 70 s: 50 passed, 1 failed, 1 blocked'."""
        counts = Counter(finding.outcome for finding in found)
        parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
        return f"{counted(len(found), 'probe')} in {sum(finding.seconds for finding in found):.0f} s: {parts}"


def findings_json(site: str, found: Sequence[Finding]) -> str:
    """The findings as JSON: a list of objects with the fields of Finding."""
    return json.dumps({"site": site, "probes": [asdict(finding) for finding in found]}, indent=2)
