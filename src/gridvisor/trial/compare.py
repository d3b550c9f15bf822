"""Before and after: what is other on machines that got a candidate, what is worth a look, and what must not be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gridvisor.trial.facts import Facts
from gridvisor.trial.model import Blame, Change, Weight

# What is other after any start or any package, and says nothing: by kind, with the reason.
_NOISE = {
    "file": {
        "/etc/ld.so.cache": "made anew by ldconfig for each library",
        "/etc/gridvisor/*": "our own notes",
        "/etc/*-": "what shadow(5) keeps of the file before",
        "/etc/.pwd.lock": "the lock of passwd(1)",
        "/etc/mtab": "a link to the kernel's own list",
    },
    "unit": {
        "gridvisor-*": "what an upgrade is done by",
        "run-*": "made for one start by systemd-run(1)",
    },
    "port": {"* 127.0.0.1:some": "chosen anew at each start", "* [[]::1]:some": "chosen anew at each start"},
}
_WORTH = {"unit": 60, "port": 50, "user": 40, "file": 20, "folder": 15, "package": 10}
_SECRET = re.compile(r"(key|key\.pem|shadow-?|secrets?|\.keytab|\.p12|htpasswd)(\.(bak|old|orig|dpkg-\w+))?$")
_PUBLIC = re.compile(r"^/etc/(apt/|unbound/root\.key$)")  # keys that verify what others have signed
_STICKY, _MAY_READ, _WRITE, _ENTER = 0o1000, 0o004, 0o002, 0o001  # of chmod(1)
_READ, _WRITTEN, _ENTERED = "read", "written", "entered"
_EVERYWHERE = re.compile(r" (\*|0\.0\.0\.0|\[::\]):(?!some)")


@dataclass(frozen=True, slots=True)
class Risk:
    """A change that is a finding."""

    what: str
    text: str
    blame: Blame
    weight: Weight


def changes(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> tuple[Change, ...]:
    """What is other on the machines that are in both, what is worth a look first."""
    found = [
        _weighed(Change(machine, kind, what, had.get(what, ""), has.get(what, "")))
        for machine in before.keys() & after.keys()
        for kind in before[machine].kinds.keys() & after[machine].kinds.keys()
        for had, has in [(before[machine].kinds[kind], after[machine].kinds[kind])]
        for what in had.keys() | has.keys()
        if had.get(what) != has.get(what)
    ]
    found = [one for one in found if _opened(one) or not _is_noise(one.kind, one.what)]
    return tuple(sorted(found, key=lambda one: (-one.worth, one.machine, one.kind, one.what)))


def risks(found: Iterable[Change]) -> Iterator[Risk]:
    """Those changes that must not be, and those that somebody has to know of."""
    for one in found:
        if opened := _opened(one):
            text = f"On '{one.machine}' {one.what} can be {opened} by all: {one.before or 'not there'} → {one.after}."
            weight = Weight.REMARK if opened == _ENTERED else Weight.NO
            yield Risk(f"{one.what} of {one.machine}", text, Blame.CONFIGURATION, weight)
        elif one.kind == "port" and not one.before and _EVERYWHERE.search(one.what):
            text = f"On '{one.machine}' {one.after} listens at {one.what}, on all addresses."
            yield Risk(f"{one.what} of {one.machine}", text, Blame.CONFIGURATION, Weight.REMARK)
        elif one.kind == "unit" and one.after == "failed":
            text = f"On '{one.machine}' the unit '{one.what}' has failed."
            yield Risk(f"{one.what} of {one.machine}", text, Blame.MIDDLEWARE, Weight.REMARK)


def _weighed(change: Change) -> Change:
    worth = _WORTH.get(change.kind, 0)
    if _opened(change) or change.after == "failed":
        worth = 100
    elif change.kind == "package" and not change.after:
        worth = 45  # something that is gone is missed sooner than something that is newer
    elif change.kind in ("file", "folder") and change.before and change.after:
        worth = 30  # a file that both have, and that is other: a default has changed, or its mode
    return Change(change.machine, change.kind, change.what, change.before, change.after, worth)


def _opened(change: Change) -> str:
    """What all may do now with a file or a folder, and could not before, if that is a danger; nothing else: ''."""
    if change.kind not in ("file", "folder") or not change.after or change.after.endswith("link"):
        return ""
    gained = _of_others(change.after) & ~_of_others(change.before)
    if gained & _WRITE and not int(change.after.split()[0], 8) & _STICKY:
        return _WRITTEN
    if change.kind == "folder":
        return _ENTERED if change.before and gained & _ENTER else ""
    is_secret = _SECRET.search(change.what) and not _PUBLIC.search(change.what)
    return _READ if is_secret and gained & _MAY_READ else ""


def _of_others(value: str) -> int:
    return int(value.split()[0], 8) & 0o007 if value else 0


def _is_noise(kind: str, what: str) -> bool:
    return any(fnmatchcase(what, pattern) for pattern in _NOISE.get(kind, ()))
