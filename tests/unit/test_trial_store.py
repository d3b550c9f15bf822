"""Trials on disk: nothing is lost on the way, no two have one id, and what is torn harms nobody."""

from __future__ import annotations

import dataclasses
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.parallel import each
from gridvisor.core.places import Places
from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.trial.model import (
    Blame,
    Change,
    Finding,
    Guilty,
    LoadJob,
    Measure,
    Stage,
    StageResult,
    Step,
    Trial,
    Verdict,
    Weight,
)
from gridvisor.trial.store import TrialStore, from_json, to_json
from sample_trial import not_ready, ready

DATA = Path(__file__).resolve().parents[1] / "data" / "trial"
STAGE = StageResult(
    Stage.UPGRADE,
    1795452310.5,
    80.75,
    (Step("ce", 1795452311.0, 40.5, (ProbeResult("ce", "a[ce]", Outcome.FAILED, 0.1, "It is.", "no"),), "said"),),
    (Finding(Blame.MIRROR, Weight.KNOWN, Stage.UPGRADE, "ce", "a[ce]", "no\nagain", ("evidence/a", "b")),),
)
FULL = Trial(
    id="20261123-164500-sid",
    site="kiam-test",
    candidate="sid",
    summary="middleware of sid, with “quotes”, \n, \t and ✓",
    began_s=1795452300.25,
    wanted=(Stage.SELF_CHECK, Stage.UPGRADE),
    ended_s=1795452400.125,
    stages=(STAGE,),
    changes=(Change("ce", "file", "/etc/a", "1", "2", 7),),
    before=(Measure("submit", "s", (0.1, 0.30000000000000004)),),
    after=(Measure("submit", "s", (1e-9, 2.0)),),
    jobs=(LoadJob("job-1", 2.0, 9.5, "lost"),),
    guilty=(Guilty("a[ce]", ("slurm", "arc"), 0.75, ("fails with slurm",), ("b[ce]",)),),
    verdict=Verdict.NOT_READY,
    lock={"ce": {"slurmctld": "25.05", "gone": ""}, "ui": {}},
    under_way=dataclasses.replace(STAGE, stage=Stage.ROLLBACK),
)


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(Places(tmp_path / "cache", tmp_path / "state"))


def is_filled(value: Any) -> bool:
    """Whether no field in it, however deep, is as it is by default."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return all(
            getattr(value, field.name) != field.default and is_filled(getattr(value, field.name)) for field in fields
        )
    if isinstance(value, tuple):
        return bool(value) and all(map(is_filled, value))
    return value is not None and value != {}


def test_every_field_comes_back_as_it_was() -> None:
    assert is_filled(FULL)
    again = from_json(to_json(FULL))
    assert again == FULL
    assert type(again.verdict) is Verdict
    assert type(again.stages[0].steps[0].probes[0].outcome) is Outcome


@pytest.mark.parametrize("trial", [ready(), not_ready()], ids=["ready", "not-ready"])
def test_whole_trials_come_back_as_they_were(trial: Trial) -> None:
    assert from_json(to_json(trial)) == trial


def test_a_trial_that_is_removed_is_gone_with_its_evidence(store: TrialStore) -> None:
    one, other = store.begin("kiam", "sid"), store.begin("kiam", "sid")
    (store.folder_of(one) / "evidence").mkdir()
    store.remove(one.id)
    assert [trial.id for trial in store.list()] == [other.id]
    assert not store.folder_of(one).exists()
    with pytest.raises(Refused):
        store.remove(one.id)


def test_a_trial_that_runs_is_not_removed(store: TrialStore) -> None:
    ended, runs = store.begin("kiam", "sid"), store.begin("kiam", "sid")
    store.save(dataclasses.replace(ended, ended_s=2.0))
    with store.alone("kiam") as alone:
        assert alone
        with pytest.raises(Refused, match="runs"):
            store.remove(runs.id)
        store.remove(ended.id)
    store.remove(runs.id)  # it was broken off
    assert store.list() == ()


def test_trials_that_are_kept_can_be_read_later() -> None:
    """The file is of this format's first version: a change of the format must still read it."""
    then = dataclasses.replace(FULL, guilty=(dataclasses.replace(FULL.guilty[0], also=()),), under_way=None)
    assert from_json((DATA / "trial.json").read_bytes()) == then


def test_bytes_that_no_text_can_be_do_not_break_a_trial(store: TrialStore) -> None:
    trial = dataclasses.replace(store.begin("s", "c"), summary="a\udcffb")
    store.save(trial)
    assert store.read(trial.id).summary == "a?b"


def test_numbers_that_are_none_do_not_break_a_trial(store: TrialStore) -> None:
    trial = dataclasses.replace(store.begin("s", "c"), before=(Measure("rate", "MiB/s", (float("inf"),)),))
    store.save(trial)
    assert store.read(trial.id) == trial


def test_a_new_trial_is_kept_at_once(store: TrialStore, tmp_path: Path) -> None:
    trial = store.begin("kiam-test", "Sid: Middleware!", "all of it", wanted=(Stage.FRESH,))
    assert time.strftime("%Y%m%d-%H%M%S", time.localtime(trial.began_s)) + "-sid-middleware" == trial.id
    assert (trial.site, trial.candidate, trial.summary) == ("kiam-test", "Sid: Middleware!", "all of it")
    assert (trial.wanted, trial.verdict, trial.ended_s) == ((Stage.FRESH,), None, None)
    assert store.read(trial.id) == trial
    folder = store.folder_of(trial)
    assert folder == tmp_path / "state" / "trials" / "kiam-test" / trial.id
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_two_have_one_id(store: TrialStore) -> None:
    begun = each(range(12), lambda number: store.begin(f"site{number % 2}", "same"))
    trials = list(begun.values()) if isinstance(begun, dict) else list(begun)
    assert len({trial.id for trial in trials}) == len(store.list()) == 12


@pytest.mark.parametrize("name", ["", "../../etc", "ünï", "x" * 300, "a\0b"])
def test_a_candidate_of_any_name_has_a_folder(store: TrialStore, name: str) -> None:
    trial = store.begin("s", name)
    assert store.folder_of(trial).parent.name == "s"
    assert "/" not in trial.id
    assert len(trial.id) < 70


def test_the_newest_comes_first(store: TrialStore) -> None:
    for number, site in enumerate(("b", "a", "b")):
        trial = store.begin(site, f"c{number}")
        store.save(dataclasses.replace(trial, began_s=1000.0 + number))
    assert [trial.candidate for trial in store.list()] == ["c2", "c1", "c0"]
    assert [trial.candidate for trial in store.list("b")] == ["c2", "c0"]
    assert store.list("nobody") == ()
    assert sorted(store.ids()) == sorted(trial.id for trial in store.list())


def test_what_is_torn_or_anothers_is_passed_over(store: TrialStore) -> None:
    assert store.list() == ()
    good = store.begin("s", "good")
    root = store.folder_of(good).parent
    (root / "a-file").write_text("x")
    (root.parent / "s.lock").write_text("")
    for name, content in {
        "empty": b"",
        "torn": to_json(good)[:70],
        "not-utf8": b"\xff\xfe",
        "list": b"[]",
        "other-id": to_json(good),
        "stage": json.dumps({**json.loads(to_json(good)), "wanted": ["dance"]}).encode(),
    }.items():
        (root / name).mkdir()
        (root / name / "trial.json").write_bytes(content)
    (root / "nothing").mkdir()
    (root / "folder" / "trial.json").mkdir(parents=True)
    assert store.list() == (good,)
    with pytest.raises(GridvisorError, match="torn"):
        store.read("torn")


@pytest.mark.parametrize("id", ["none", "", "..", "../s", "s"])
def test_an_id_that_is_none_is_refused(store: TrialStore, id: str) -> None:
    store.begin("s", "c")
    with pytest.raises(Refused, match="There is no trial"):
        store.read(id)


def test_a_trial_that_cannot_be_kept_leaves_the_one_before(store: TrialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = store.begin("s", "c")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="full"):
        store.save(dataclasses.replace(trial, summary="new"))
    assert store.read(trial.id) == trial
    assert [path.name for path in store.folder_of(trial).iterdir()] == ["trial.json"]
