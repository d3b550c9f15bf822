"""How probes are shown: a line for each as it comes, what a bad one said below it, and a sum at the end."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import typer

from gridvisor.core.printable import printable
from gridvisor.core.units import counted
from gridvisor.probe.outcome import Outcome, ProbeResult

_MARKS = {
    Outcome.PASSED: ("✓", 32),
    Outcome.FAILED: ("✗", 31),
    Outcome.ERROR: ("!", 35),
    Outcome.BLOCKED: ("-", 33),
    Outcome.SKIPPED: ("·", 2),
}
_LINES = 8  # of what a probe said


@dataclass
class ProbeLines:
    """The lines on the terminal; with `quiet`, none."""

    quiet: bool = False
    _suite: str = field(default="", init=False)

    def show(self, result: ProbeResult) -> None:
        """Print the line of `result`, and its suite's name before the first of them."""
        if self.quiet:
            return
        if result.suite != self._suite:
            self._suite = result.suite
            typer.echo(result.suite)
        mark, colour = _MARKS[result.outcome]
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            mark = f"\033[{colour}m{mark}\033[0m"
        note = result.why if result.outcome in (Outcome.BLOCKED, Outcome.SKIPPED) else f"{result.seconds:6.1f} s"
        typer.echo(f"  {mark} {result.probe:<34} {note}")
        if result.outcome in (Outcome.FAILED, Outcome.ERROR):
            typer.echo(f"      {result.title}")
            for line in printable(result.why).splitlines()[:_LINES]:
                typer.echo(f"      | {line}")

    def summary(self, found: Sequence[ProbeResult]) -> str:
        """'52 probes in 70 s: 50 passed, 1 failed, 1 blocked'."""
        counts = Counter(result.outcome for result in found)
        parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
        return f"{counted(len(found), 'probe')} in {sum(result.seconds for result in found):.0f} s: {parts}"


def probes_json(site: str, found: Sequence[ProbeResult]) -> str:
    """The results as JSON: a list of objects with the fields of ProbeResult."""
    return json.dumps({"site": site, "probes": [asdict(result) for result in found]}, indent=2)
