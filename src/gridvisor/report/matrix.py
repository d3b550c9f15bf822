"""What every probe said after every step: a table with suites of rows, most of which nobody needs to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.trial.model import Stage, Step, Trial

_WORST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED, Outcome.SKIPPED, Outcome.PASSED)
_BAD = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED)


@dataclass(frozen=True, slots=True)
class Column:
    """A step after which probes were asked."""

    stage: Stage
    step: Step


@dataclass(frozen=True, slots=True)
class Row:
    """A probe with its result in each column; None where it was not asked."""

    suite: str
    probe: str
    title: str
    cells: tuple[ProbeResult | None, ...]

    @property
    def is_good(self) -> bool:
        """Whether it passed, or did not apply, wherever it was asked."""
        return not any(cell and cell.outcome in _BAD for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The table; rows as their suites came."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def bad(self) -> tuple[Row, ...]:
        """The rows that are worth a look."""
        return tuple(row for row in self.rows if not row.is_good)

    @property
    def good(self) -> dict[str, tuple[Row, ...]]:
        """All other rows, by suite."""
        suites = dict.fromkeys(row.suite for row in self.rows if row.is_good)
        return {suite: tuple(row for row in self.rows if row.is_good and row.suite == suite) for suite in suites}

    @property
    def stages(self) -> tuple[tuple[Stage, int], ...]:
        """The stages over the columns, with how many columns each has."""
        counts: dict[Stage, int] = {}
        for column in self.columns:
            counts[column.stage] = counts.get(column.stage, 0) + 1
        return tuple(counts.items())


def matrix_of(trial: Trial) -> Matrix:
    """The matrix of all steps that have probes."""
    columns = tuple(Column(result.stage, step) for result in trial.stages for step in result.steps if step.probes)
    cells: dict[tuple[str, str], dict[int, ProbeResult]] = {}
    for index, column in enumerate(columns):
        for result in column.step.probes:
            row = cells.setdefault((result.suite, result.probe), {})
            row[index] = _worse(row.get(index), result)
    suites = list(dict.fromkeys(suite for suite, _ in cells))
    rows = [
        Row(suite, probe, _title(row.values()), tuple(row.get(index) for index in range(len(columns))))
        for (suite, probe), row in sorted(cells.items(), key=lambda item: suites.index(item[0][0]))
    ]
    return Matrix(columns, tuple(rows))


def worst(results: Sequence[ProbeResult]) -> Outcome | None:
    """The worst that any probe came to; None when there was none."""
    outcomes = {one.outcome for one in results}
    return next((outcome for outcome in _WORST_FIRST if outcome in outcomes), None)


def _worse(one: ProbeResult | None, other: ProbeResult) -> ProbeResult:
    if one is None or _WORST_FIRST.index(other.outcome) < _WORST_FIRST.index(one.outcome):
        return other
    return one


def _title(results: Iterable[ProbeResult]) -> str:
    return next((one.title for one in results if one.title), "")
