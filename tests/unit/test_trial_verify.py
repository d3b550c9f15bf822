"""What a trial is of: what it keeps of that when it begins, and what it is not begun, or gone on with, for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gridvisor.app.host import Host
from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.package.apt import PackageVersion
from gridvisor.release.candidate import Candidate, Repository, Source
from gridvisor.release.lock import Release, RolePackages
from gridvisor.trial import course as course_module
from gridvisor.trial import verify as verify_module
from gridvisor.trial.course import Course
from gridvisor.trial.model import Blame, Stage, StageResult, Trial, Verdict, Weight
from gridvisor.trial.site import Model, known_to_host
from gridvisor.trial.verify import VerifyWish, _kept, _require_meant_for, _subject, verify

MACHINES = {"ce": "ce", "wn1": "wn"}
NEW = PackageVersion("munge", "2", "amd64", "")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with a site, a candidate of packages and files, probes and a key."""
    for name in (
        *(
            "site/site.yaml",
            "site/roles/ce/role.yaml",
            "c/c.yaml",
            "c/roles/ce/tree/etc/motd",
            "c/roles/cee/tree/etc/motd",
        ),
        *("c/debs/a.deb", "c/key.asc", "probes/test_a.py"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name} as it was\n")
    return tmp_path


def model_of(inputs: Path) -> Model:
    return Model("kiam", inputs / "site/site.yaml", MACHINES)


def candidate_of(inputs: Path, *, packages: bool = True, order: tuple[str, ...] = ()) -> Candidate:
    repository = Repository("https://repo.example.org", ("main",), inputs / "c/key.asc")
    sources = (
        Source(None, inputs / "c/debs", ("*",), {}),
        Source("next", None, ("munge", "mungee*"), {}, repository),
    )
    return Candidate(inputs / "c/c.yaml", "next", "", sources if packages else (), inputs / "c/roles", order)


def host_that_tells(told: list[str]) -> Any:
    return SimpleNamespace(bus=SimpleNamespace(warn=lambda text, **_: told.append(text)))


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: (inputs / "site/site.yaml").write_text("other"),
        lambda inputs: (inputs / "site/roles/ce/prepare.sh").write_text("other"),
        lambda inputs: (inputs / "c/c.yaml").write_text("other"),
        lambda inputs: (inputs / "c/debs/a.deb").write_text("other"),
        lambda inputs: (inputs / "c/key.asc").write_text("other"),
        lambda inputs: (inputs / "probes/test_a.py").write_text("other"),
        # The same file of another role.
        lambda inputs: (inputs / "c/roles/ce").rename(inputs / "c/roles/wn"),
    ],
)
def test_a_trial_of_anything_else_is_another_one(inputs: Path, change: Callable[[Path], object]) -> None:
    model, candidate = model_of(inputs), candidate_of(inputs)
    wish = VerifyWish("kiam", inputs / "c/c.yaml", probes=(inputs / "probes",))
    before = _subject(model, candidate, wish)
    assert _subject(model, candidate, wish) == before
    assert _subject(model, candidate, VerifyWish("kiam", inputs / "c/c.yaml")) != before
    (inputs / "probes/__pycache__").mkdir()
    (inputs / "probes/__pycache__/test_a.pyc").write_bytes(b"made when they are first asked")
    assert _subject(model, candidate, wish) == before
    change(inputs)
    assert _subject(model, candidate, wish) != before


def test_what_is_edited_meanwhile_is_not_tried(inputs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    for _ in range(2):  # also by a run that goes on
        model, candidate = _kept(model_of(inputs), candidate_of(inputs), folder)
        assert model.file.read_text() == "site/site.yaml as it was\n"
        assert (model.file.parent / "roles/ce/role.yaml").read_text() == "site/roles/ce/role.yaml as it was\n"
        assert candidate.roles is not None
        # Of roles that no machine has, nothing is tried, so nothing is sealed.
        assert [str(one.relative_to(candidate.roles)) for one in candidate.roles.rglob("*") if one.is_file()] == [
            "ce/tree/etc/motd"
        ]
        assert (candidate.roles / "ce/tree/etc/motd").read_text() == "c/roles/ce/tree/etc/motd as it was\n"
        (inputs / "site/site.yaml").write_text("other")
        (inputs / "c/roles/ce/tree/etc/motd").write_text("other")


def test_words_that_mean_no_machine_are_told(inputs: Path) -> None:
    told: list[str] = []
    _require_meant_for(model_of(inputs), candidate_of(inputs, order=("wn1", "se", "ec")), host_that_tells(told))
    assert len(told) == 2
    assert "'ec'" in told[0]
    assert "'cee'" in told[1]


def test_files_for_no_machine_of_the_site_are_refused(inputs: Path) -> None:
    (inputs / "c/roles/ce").rename(inputs / "c/roles/ec")
    with pytest.raises(Refused, match="no file of a role"):
        _require_meant_for(model_of(inputs), candidate_of(inputs, packages=False), host_that_tells([]))


def test_a_site_that_is_no_trials_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = tmp_path / "sites/kiam-trial"
    folder.mkdir(parents=True)
    host: Any = SimpleNamespace(places=SimpleNamespace(state=tmp_path))
    assert known_to_host(host, "kiam-trial") is None
    (folder / "site.yaml").write_text("site: kiam-trial\n")
    with pytest.raises(Refused, match="not a trial's"):
        known_to_host(host, "kiam-trial")


def course_of(inputs: Path, *, roles: bool = False) -> Course:
    candidate = candidate_of(inputs)
    if not roles:
        candidate = Candidate(candidate.file, "next", "", candidate.packages, None, ())
    host: Any = SimpleNamespace(bus=Bus(), places=None, target=None, mirror_uri=None)
    return Course(host, model_of(inputs), candidate, inputs, Trial("1", "kiam", "next", "", 1.0), lambda _: None)


@pytest.mark.parametrize(
    ("packages", "roles", "is_something"),
    [
        (RolePackages(("munge",), (NEW,)), False, True),
        (RolePackages(("munge",), refused="unmet dependencies"), False, True),
        (RolePackages(("munge",)), False, False),  # of that version already
        (RolePackages(), False, False),  # of no package at all, as with a slip of the pen
        (RolePackages(), True, True),
    ],
)
def test_a_candidate_that_changes_nothing_is_not_tried(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, packages: RolePackages, roles: bool, is_something: bool
) -> None:
    monkeypatch.setattr(course_module, "freeze", lambda *_, **__: Release("next", {"ce": packages}, inputs))
    monkeypatch.setattr(course_module, "mirror_of_this_machine", lambda *_, **__: None)
    course = course_of(inputs, roles=roles)
    deployment: Any = SimpleNamespace(machines=(), site=SimpleNamespace(release="trixie"))
    if is_something:
        course.freeze(deployment)
    else:
        with pytest.raises(GridvisorError, match="changes no machine"):
            course.freeze(deployment)


def test_what_is_nowhere_on_the_site_is_a_remark_once(inputs: Path) -> None:
    course = course_of(inputs)
    assert course.untried == ()
    course.release = Release("next", {"ce": RolePackages(("munge",), (NEW,))}, inputs)
    for stage in (Stage.SELF_CHECK, Stage.UPGRADE):
        with course.stage(stage, fault=Blame.MIDDLEWARE) as run:
            run.find_untried("packages")
    [finding] = course.trial.findings
    assert (finding.stage, finding.weight, finding.what) == (Stage.SELF_CHECK, Weight.REMARK, "not tried: mungee*")


def test_a_step_that_had_ended_counts_with_what_was_found_in_it(inputs: Path) -> None:
    course = course_of(inputs)

    def broken_off() -> None:
        with course.stage(Stage.ROLLBACK, fault=Blame.INFRASTRUCTURE) as run:
            with run.step("downgrade"):
                run.find("downgrade", "downgrade", "it cannot", weight=Weight.REMARK)
            with run.step("restore the snapshot"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    again = course_of(inputs)
    again.trial = course.trial
    with again.stage(Stage.UPGRADE, fault=Blame.INFRASTRUCTURE) as run:
        assert not run.had("downgrade")  # that was of another stage
    again.trial = course.trial
    with again.stage(Stage.ROLLBACK, fault=Blame.INFRASTRUCTURE) as run:
        assert run.had("downgrade")
        assert not run.had("restore the snapshot")
    [result] = again.trial.stages
    assert [step.name for step in result.steps] == ["downgrade"]
    assert [finding.text for finding in result.findings] == ["it cannot"]
    assert again.trial.under_way is None


@pytest.mark.parametrize(
    ("keep", "weight", "ran", "removed"),
    [
        (True, Weight.NO, ["self-check", "fresh", "upgrade"], 1),
        (True, Weight.REMARK, ["self-check", "fresh", "upgrade", "rollback"], 1),
        (False, Weight.NO, ["self-check", "fresh", "upgrade", "rollback"], 2),
    ],
)
def test_a_site_that_is_kept_stays_as_its_upgrade_has_left_it(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, keep: bool, weight: Weight, ran: list[str], removed: int
) -> None:
    """Sites of an earlier trial are removed in the beginning in any case."""
    seen: list[str] = []
    removals: list[str] = []

    def run(stage: Stage, course: Course) -> None:
        seen.append(stage.value)
        with course.stage(stage, fault=Blame.MIDDLEWARE) as under_way:
            if stage is Stage.UPGRADE:
                under_way.find("ce", "arex_answers[ce]", "it does not", weight=weight)

    monkeypatch.setattr(verify_module, "STORIES", {stage: partial(run, stage) for stage in Stage})
    monkeypatch.setattr(verify_module, "require_root", lambda: None)
    monkeypatch.setattr(verify_module, "seal", lambda *_, **__: None)
    monkeypatch.setattr(verify_module, "read_candidate", lambda _: candidate_of(inputs, packages=False))
    monkeypatch.setattr(verify_module, "_remove_sites", lambda _, model: removals.append(model.name))
    monkeypatch.setattr(Model, "of", lambda *_: model_of(inputs))
    host = Host(Places(inputs / "cache", inputs / "state"), Bus())
    trial = verify(VerifyWish("kiam", inputs / "c/c.yaml", keep=keep), host)
    assert seen == ran
    assert len(removals) == removed
    assert (trial.verdict is Verdict.NOT_READY) == (weight is Weight.NO)


def test_what_a_killed_run_has_begun_to_roll_back_is_not_said_to_stay(inputs: Path) -> None:
    course = course_of(inputs)
    assert not verify_module._is_rolled_back(course.trial)
    begun = StageResult(Stage.ROLLBACK, 0.0, 1.0)
    assert verify_module._is_rolled_back(replace(course.trial, under_way=begun))
    assert verify_module._is_rolled_back(replace(course.trial, stages=(begun,)))
