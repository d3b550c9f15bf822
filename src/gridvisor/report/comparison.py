"""What differs between two trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gridvisor.core.printable import printable
from gridvisor.probe.outcome import Outcome
from gridvisor.report.matrix import worst
from gridvisor.report.measures import Pair, number, pairs_of, percent
from gridvisor.report.words import headline, moment, took
from gridvisor.trial.model import Trial

_ABSENT = "-"
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing with what it is in the first and in the second trial; '' where it is not."""

    what: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs, by kind; what is equal is left out. `probes` and `findings` are named by stage and step."""

    first: str
    second: str
    verdicts: tuple[str, str]
    probes: tuple[Difference, ...]
    findings: tuple[Difference, ...]
    measures: tuple[Difference, ...]
    versions: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(first: Trial, second: Trial) -> Comparison:
    """What differs between the trials. Probes are compared where both asked them."""
    one, other = _probes(first), _probes(second)
    both = [key for key in one if key in other]
    return Comparison(
        first.id,
        second.id,
        (headline(first), headline(second)),
        tuple(_differing({key: one[key] for key in both}, {key: other[key] for key in both})),
        tuple(_differing(_findings(first), _findings(second))),
        tuple(_measures(first, second)),
        tuple(_differing(_versions(first), _versions(second))),
    )


def render(comparison: Comparison, first: Trial, second: Trial) -> str:
    """The comparison for the terminal."""
    lines = []
    for mark, trial in (("1", first), ("2", second)):
        parts = (trial.candidate, f"on {trial.site}", moment(trial.began_s), took(trial))
        lines.append(f"{mark}  {trial.id}: {headline(trial)}  ({', '.join(part for part in parts if part)})")
    for title, rows in (
        ("Findings", comparison.findings),
        ("Probes", comparison.probes),
        ("Measures of the candidates", comparison.measures),
        ("Versions", comparison.versions),
    ):
        if rows:
            width = max(len(row.what) for row in rows)
            lines.append(f"\n{title}")
            lines += [f"  {row.what:<{width}}  {row.first or _ABSENT} → {row.second or _ABSENT}" for row in rows]
    if len(lines) == 2:
        lines.append("\nNothing else differs.")
    return printable("\n".join(lines))


def _differing(first: Mapping[Key, str], second: Mapping[Key, str]) -> Iterator[Difference]:
    for key in dict.fromkeys((*first, *second)):
        one, other = first.get(key, ""), second.get(key, "")
        if one != other:
            yield Difference(", ".join(key), one, other)


def _probes(trial: Trial) -> dict[Key, str]:
    found: dict[Key, Outcome] = {}
    for result in trial.stages:
        for step in result.steps:
            for name in dict.fromkeys(one.probe for one in step.probes):
                outcome = worst([one for one in step.probes if one.probe == name])
                assert outcome is not None  # it is one of them
                found[result.stage, step.name, name] = outcome
    return {key: outcome.value for key, outcome in found.items()}


def _findings(trial: Trial) -> dict[Key, str]:
    return {(one.stage.value, one.step, one.what): f"{one.weight} ({one.blame})" for one in trial.findings}


def _versions(trial: Trial) -> dict[Key, str]:
    return {
        (role, package): version or "goes away"
        for role, packages in trial.lock.items()
        for package, version in packages.items()
    }


def _measures(first: Trial, second: Trial) -> Iterator[Difference]:
    """The medians with the candidates; how they went from one to the other stands behind the second."""
    ones = {(pair.what, pair.unit): pair for pair in pairs_of(first)}
    others = {(pair.what, pair.unit): pair for pair in pairs_of(second)}
    for key in dict.fromkeys((*ones, *others)):
        one, other = _after(ones.get(key)), _after(others.get(key))
        if one != other:
            what, unit = key
            change = f" ({percent(other / one - 1)})" if one and one > 0 and other is not None else ""
            yield Difference(what, _told(one, unit), _told(other, unit) + change)


def _after(pair: Pair | None) -> float | None:
    return pair.medians[1] if pair else None


def _told(value: float | None, unit: str) -> str:
    return "" if value is None else f"{number(value)} {unit}"
