"""Words that all reports have in common: the verdict as a sentence, and times."""

from __future__ import annotations

import time
from collections import Counter

from gridvisor.core.units import counted
from gridvisor.trial.model import Trial, Verdict, Weight
from gridvisor.trial.verdict import against, gaps, in_the_way, left_out

_SENTENCES = {
    Verdict.READY: "Nothing speaks against it: production may have it.",
    Verdict.REMARKS: "Production may have it; read the remarks first.",
    Verdict.NOT_READY: "Production must not have it.",
    Verdict.NONE: "Nothing can be said of it: something else was at fault, or it was not tried to the end.",
}


def headline(trial: Trial) -> str:
    """The verdict, or how far it is."""
    return trial.verdict or "not finished"


def sentence(trial: Trial) -> str:
    """What the verdict means."""
    return _SENTENCES[trial.verdict] if trial.verdict else "The trial runs still, or was broken off."


def sums(trial: Trial) -> str:
    """How much was found of what: '2 against it, 1 known'."""
    weights = Counter(one.weight for one in trial.findings)
    parts = [
        (len(against(trial)), "{} against it"),
        (len(in_the_way(trial)), "{} in the way"),
        (weights[Weight.KNOWN], "{} known"),
    ]
    told = [text.format(count) for count, text in parts if count]
    if remarks := weights[Weight.REMARK]:
        told.append(counted(remarks, "remark"))
    return ", ".join(told) or "no finding"


def missing(trial: Trial) -> tuple[str, ...]:
    """What the verdict does not rest on, a sentence each."""
    return (*gaps(trial), *(f"The stage '{stage}' was not asked for." for stage in left_out(trial)))


def duration(seconds: float) -> str:
    """'4.3 s', '1 min 12 s', '2 h 5 min'."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def took(trial: Trial) -> str:
    """How long the trial took, or '' while it has not ended."""
    return "" if trial.ended_s is None else duration(trial.ended_s - trial.began_s)


def moment(at_s: float) -> str:
    """The time of day, with the date, where this host is."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
