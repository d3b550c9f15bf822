"""Measures of the baseline beside those of the candidate: medians, what they differ by, and dots on one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from gridvisor.trial.measure import START
from gridvisor.trial.model import Measure, Trial


@dataclass(frozen=True, slots=True)
class Pair:
    """One measure, before and after; medians are None where it was not measured. The scale from `bottom` to `top`
    has all samples on it, and 0."""

    what: str
    unit: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    bottom: float
    top: float

    @property
    def medians(self) -> tuple[float | None, float | None]:
        """Of the baseline and of the candidate."""
        return (median(self.before) if self.before else None, median(self.after) if self.after else None)

    @property
    def change(self) -> float | None:
        """By what part of the baseline's median the candidate's is greater; None where that says nothing."""
        before, after = self.medians
        return None if before is None or after is None or before <= 0 else after / before - 1

    def place(self, value: float) -> float:
        """Where a value is on the scale, from 0 to 1."""
        # Halved first: a scale from the least float to the greatest is longer than a float can say.
        span = self.top / 2 - self.bottom / 2
        return min(1.0, max(0.0, (value / 2 - self.bottom / 2) / span)) if span else 0.0


def pairs_of(trial: Trial) -> tuple[Pair, ...]:
    """The measures by what they measure, in the baseline's order and then the candidate's. Numbers that are none are
    left out."""
    before = {(one.what, one.unit): _finite(one) for one in trial.before}
    after = {(one.what, one.unit): _finite(one) for one in trial.after}
    return tuple(
        _pair(what, unit, before.get((what, unit), ()), after.get((what, unit), ()))
        for what, unit in dict.fromkeys((*before, *after))
    )


def is_quick(pair: Pair) -> bool:
    """True for the start of a service that never took a second: most of them, and of no interest."""
    return pair.what.startswith(START) and max((0.0, *pair.before, *pair.after)) < 1


def number(value: float) -> str:
    """A measured number for people: three digits, no more."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"


def percent(change: float) -> str:
    """'+12 %'."""
    return f"{change * 100:+.0f} %".replace("+0 %", "±0 %").replace("-0 %", "±0 %")


def _pair(what: str, unit: str, before: tuple[float, ...], after: tuple[float, ...]) -> Pair:
    values = (0.0, *before, *after)
    return Pair(what, unit, before, after, min(values), max(values))


def _finite(measure: Measure) -> tuple[float, ...]:
    return tuple(value for value in measure.samples if math.isfinite(value))
