"""The smallest part of a candidate with which it still fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.core.events import Bus
from gridvisor.package.apt import PackageVersion
from gridvisor.release.candidate import Candidate
from gridvisor.release.lock import Release, RolePackages
from gridvisor.trial import bisect
from gridvisor.trial.bisect import Part, blamed, parts_of, smallest
from gridvisor.trial.course import Course
from gridvisor.trial.model import Blame, Finding, Guilty, Stage, StageResult, Trial, Weight
from gridvisor.trial.site import Model


@given(st.integers(1, 20), st.data())
def test_the_guilty_are_found_among_any_number(count: int, data: st.DataObject) -> None:
    parts = list(range(count))
    guilty = set(data.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4, unique=True)))
    tries: list[Sequence[int]] = []

    def fails(chosen: Sequence[int]) -> bool:
        tries.append(chosen)
        return guilty <= set(chosen)

    assert set(smallest(parts, fails)) == guilty
    assert len(tries) <= count * count + 3 * count  # of ddmin, in the worst case
    assert all(tries), "with nothing of the candidate there is nothing to try"


def test_of_two_that_are_guilty_each_for_itself_one_is_found() -> None:
    assert smallest([1, 2, 3, 4], lambda chosen: 2 in chosen or 3 in chosen) in [(2,), (3,)]


def test_one_part_alone_needs_no_try() -> None:
    assert smallest(["a"], lambda _: pytest.fail("not needed")) == ("a",)


@pytest.mark.parametrize(
    ("causes", "named"),
    [
        # The second comes of the same part, so it is not looked into.
        ({"first": "arc", "second": "arc"}, [("first", ("arc",), ("second",))]),
        ({"first": "arc", "second": "xrd"}, [("first", ("arc",), ()), ("second", ("xrd",), ())]),
        ({"first": "arc", "job lost": "arc"}, [("first", ("arc",), ("job lost",))]),
        ({"first": "arc", "job lost": "xrd"}, [("first", ("arc",), ()), ("job lost", ("xrd",), ())]),
        ({"first": "gone", "second": "xrd"}, [("first", (), ()), ("second", ("xrd",), ())]),  # it does not come again
    ],
)
def test_findings_are_explained_by_the_part_that_was_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    causes: dict[str, str],
    named: list[tuple[str, tuple[str, ...], tuple[str, ...]]],
) -> None:
    findings = tuple(Finding(Blame.MIDDLEWARE, Weight.NO, Stage.UPGRADE, "se", what, "no") for what in causes)
    trial = Trial("1", "kiam", "c", "", 1.0, stages=(StageResult(Stage.UPGRADE, 0.0, 1.0, findings=findings),))
    release = Release("c", {"se": RolePackages(("arc", "other", "xrd"))}, tmp_path)
    host: Any = SimpleNamespace(bus=Bus())
    candidate = Candidate(tmp_path / "c.yaml", "c", "", (), None, ())
    course = Course(host, Model("kiam", tmp_path), candidate, tmp_path, trial, lambda _: None, release=release)
    monkeypatch.setattr(bisect, "site_of", lambda _: None)
    monkeypatch.setattr(bisect._Search, "_with", lambda self, parts, *, boot: {part.name for part in parts})
    monkeypatch.setattr(
        bisect._Search,
        "_problems",
        lambda self, parts, *, more: frozenset(
            what for what, of in causes.items() if of in {part.name for part in parts}
        ),
    )
    monkeypatch.setattr(bisect._Search, "shows", lambda self, there: causes[self.finding.what] in there)
    guilty = bisect.find_guilty(course, course.trial.findings)
    assert [(one.probe, one.suspects, one.also) for one in guilty] == named
    # Suspects and rest are tried twice, and nothing else is.
    assert all(one.runs.count(run) <= 2 for one in guilty for run in one.runs)
    assert all(sum(one.runs.count(run) == 2 for run in set(one.runs)) <= 2 for one in guilty)


def test_jobs_are_asked_also_when_the_machine_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a certificate that has moved: A-REX does not answer, so the upgrade says no, and so do its jobs."""
    has: set[str] = set()

    class Load:
        deployment = None

        def __init__(self, _: object) -> None:
            has.clear()

        def __enter__(self) -> Load:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def until_job_runs(self) -> None:
            pass

        def ended(self, *, more: bool) -> list[SimpleNamespace]:
            return [SimpleNamespace(what="jobs cannot be asked for")] if "arc" in has else []

    def apply(_: object, __: object, parts: Sequence[Part]) -> None:
        has.update(part.name for part in parts)
        if "arc" in has:
            raise SystemSaidNo("'ce' still waits for A-REX answers over HTTPS.")

    finding = Finding(Blame.MIDDLEWARE, Weight.NO, Stage.UPGRADE, "begin", "jobs cannot be asked for", "no")
    trial = Trial("1", "kiam", "c", "", 1.0, stages=(StageResult(Stage.UPGRADE, 0.0, 1.0, findings=(finding,)),))
    release = Release("c", {"ce": RolePackages(("other", "arc"))}, tmp_path)
    host: Any = SimpleNamespace(bus=Bus())
    candidate = Candidate(tmp_path / "c.yaml", "c", "", (), None, ())
    course = Course(host, Model("kiam", tmp_path), candidate, tmp_path, trial, lambda _: None, release=release)
    monkeypatch.setattr(bisect, "site_of", lambda _: None)
    monkeypatch.setattr(bisect, "at_baseline", lambda _: None)
    monkeypatch.setattr(bisect, "Load", Load)
    monkeypatch.setattr(bisect._Search, "_apply", apply)
    [guilty] = bisect.find_guilty(course, course.trial.findings)
    assert (guilty.suspects, guilty.sure) == (("arc",), 1.0)


@pytest.fixture
def kept_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Course, list[str]]:
    """A trial with something to look for, and what is done to its site: a list that grows."""
    finding = Finding(Blame.MIDDLEWARE, Weight.NO, Stage.UPGRADE, "se", "stored[se]", "no")
    trial = Trial("1", "kiam", "c", "", 1.0, stages=(StageResult(Stage.UPGRADE, 0.0, 1.0, findings=(finding,)),))
    release = Release("c", {"se": RolePackages(("xrd",))}, tmp_path)
    host: Any = SimpleNamespace(bus=Bus())
    candidate = Candidate(tmp_path / "c.yaml", "c", "", (), None, ())
    course = Course(host, Model("kiam", tmp_path), candidate, tmp_path, trial, lambda _: None, release=release)
    done: list[str] = []

    def fails(_: object, parts: Sequence[Part]) -> bool:
        done.append("try")
        return bool(parts)

    def restore(_: object, name: str, **__: object) -> None:
        done.append(f"restore {name}")
        raise ExceptionGroup("up", [SystemSaidNo("'se' still waits for XRootD.")])

    monkeypatch.setattr(bisect, "site_of", lambda _: SimpleNamespace(machines=()))
    monkeypatch.setattr(bisect, "list_snapshots", lambda _: [SimpleNamespace(name="baseline")])
    monkeypatch.setattr(bisect, "take_snapshot", lambda _, name: done.append(f"take {name}"))
    monkeypatch.setattr(bisect, "restore_snapshot", restore)
    monkeypatch.setattr(bisect._Search, "_fails", fails)
    return course, done


@pytest.mark.parametrize("keep", [True, False])
def test_a_site_that_is_kept_is_brought_back_after_the_search(kept_site: tuple[Course, list[str]], keep: bool) -> None:
    course, done = kept_site
    [guilty] = bisect.find_guilty(course, course.trial.findings, keep=keep)
    assert guilty.suspects == ("xrd",)
    tries = ["try"] * done.count("try")
    assert tries
    assert done == (["take as-upgraded", *tries, "restore as-upgraded"] if keep else tries)


def test_a_search_that_begins_anew_keeps_what_the_first_one_has_kept(
    kept_site: tuple[Course, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    course, done = kept_site
    monkeypatch.setattr(bisect, "list_snapshots", lambda _: [SimpleNamespace(name="as-upgraded")])
    bisect.find_guilty(course, course.trial.findings, keep=True)
    assert "take as-upgraded" not in done
    assert done[-1] == "restore as-upgraded"


def test_what_cannot_be_kept_is_not_lost_for_the_search(
    kept_site: tuple[Course, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    course, done = kept_site

    def no_room(*_: object) -> None:
        raise GridvisorError("There is no room.")

    monkeypatch.setattr(bisect, "take_snapshot", no_room)
    [guilty] = bisect.find_guilty(course, course.trial.findings, keep=True)
    assert guilty.suspects == ()
    assert "There is no room." in guilty.runs[-1]
    assert done == []


@pytest.mark.parametrize(
    ("suspects", "blame"),
    [
        (("se/tree/etc/a",), Blame.CONFIGURATION),
        (("munge",), Blame.MIDDLEWARE),
        (("munge", "se/tree/etc/a"), Blame.MIDDLEWARE),
        ((), Blame.MIDDLEWARE),  # as it was
    ],
)
def test_whose_fault_it_is_follows_from_what_is_guilty(suspects: tuple[str, ...], blame: Blame) -> None:
    findings = tuple(
        Finding(Blame.MIDDLEWARE, Weight.NO, Stage.UPGRADE, "se", what, "no")
        for what in ("stored[se]", "by it", "other")
    )
    stages = (StageResult(Stage.UPGRADE, 0.0, 1.0, findings=findings),)
    guilty = (Guilty("stored[se]", suspects, 1.0, also=("by it",)),)
    trial = Trial("1", "kiam", "c", "", 1.0, stages=stages, guilty=guilty)
    assert [one.blame for one in blamed(trial).findings] == [blame, blame, Blame.MIDDLEWARE]


def test_parts_are_what_the_candidate_names_and_not_what_that_needs(tmp_path: Path) -> None:
    for name in ("se/role.yaml", "se/tree/etc/a", "ce/tree/etc/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    libc = PackageVersion("libc6", "2", "amd64", "")
    release = Release("c", {"se": RolePackages(("arc",), (libc,)), "ui": RolePackages(("xrd", "arc"))}, tmp_path)
    host: Any = SimpleNamespace(bus=Bus())
    candidate = Candidate(tmp_path / "c.yaml", "c", "", (), tmp_path, ())
    trial = Trial("1", "kiam", "c", "", 1.0)
    course = Course(host, Model("kiam", tmp_path), candidate, tmp_path, trial, lambda _: None, release=release)
    assert list(map(str, parts_of(course))) == ["arc", "xrd", "ce/tree/etc/b", "se/role.yaml", "se/tree/etc/a"]
    assert parts_of(course)[0] == Part("arc")
