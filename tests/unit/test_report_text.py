"""A trial for the terminal, two trials compared, and the commands that show them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli_main import Gridvisor, gridvisor
from test_report_html import hostile

from gridvisor.core.places import Places
from gridvisor.report.comparison import compare, render
from gridvisor.report.files import write_reports
from gridvisor.report.text import render as as_text
from gridvisor.trial.model import Trial
from gridvisor.trial.store import TrialStore, from_json
from sample_trial import not_ready, ready

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "report"

__all__ = ["gridvisor"]  # a fixture


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are told as they are where the host is: here, nowhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def kept(root: Path, *trials: Trial) -> TrialStore:
    """A store with those trials."""
    store = TrialStore(Places(root / "cache", root / "state"))
    for trial in trials:
        store.folder_of(trial).mkdir(parents=True)
        store.save(trial)
    return store


@pytest.mark.parametrize(("name", "trial"), [("not-ready", not_ready()), ("ready", ready())])
def test_the_text_is_as_it_should_be(name: str, trial: Trial) -> None:
    assert as_text(trial) + "\n" == (GOLDEN / f"{name}.txt").read_text()


def test_the_comparison_is_as_it_should_be() -> None:
    one, other = ready(), not_ready()
    assert render(compare(one, other), one, other) + "\n" == (GOLDEN / "compare.txt").read_text()


def test_the_text_obeys_nobody() -> None:
    assert "\x1b" not in as_text(hostile())


def test_a_trial_under_way_says_how_far_it_is() -> None:
    text = as_text(replace(not_ready(), verdict=None, ended_s=None, stages=not_ready().stages[:1]))
    assert text.startswith("NOT FINISHED: ")
    assert "The stage 'upgrade' did not run." in text


def test_many_findings_are_cut_and_counted() -> None:
    many = tuple(replace(not_ready().findings[0], what=f"a{number}") for number in range(30))
    text = as_text(replace(not_ready(), stages=(replace(not_ready().stages[0], findings=many),)))
    assert "a11\n" in text
    assert "a12\n" not in text
    assert "… and 18 more" in text


def test_findings_line_up_however_long_a_step_is_called() -> None:
    finding = not_ready().findings[0]
    two = (finding, replace(finding, step="jobs and files of the meantime", what="a job"))
    text = as_text(replace(not_ready(), stages=(replace(not_ready().stages[0], findings=two),)))
    first, second = (line for line in text.splitlines() if "✗" in line)
    assert first.index(finding.what) == second.index("a job")


def test_equal_trials_do_not_differ() -> None:
    found = compare(ready(), ready())
    assert (found.probes, found.findings, found.measures, found.versions) == ((), (), (), ())
    assert "Nothing else differs." in render(found, ready(), ready())


def test_reports_lie_beside_their_trial(tmp_path: Path) -> None:
    page = write_reports(not_ready(), tmp_path)
    assert page == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.html", "verdict.txt"]
    assert "job 17: " in page.read_text()


def test_list_names_trials_newest_first(
    gridvisor: Gridvisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gridvisor("report", "list") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    kept(tmp_path, ready(), not_ready())
    assert gridvisor("report", "list", "kiam-test") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TRIAL", "SITE", "CANDIDATE", "BEGAN", "TOOK", "VERDICT"]
    assert [line.split()[0] for line in lines[1:]] == [not_ready().id, ready().id]
    assert lines[1].endswith("15 min 21 s  not ready")
    gridvisor("report", "list", "-o", "json")
    assert [one["verdict"] for one in json.loads(capsys.readouterr().out)] == ["not ready", "ready"]


def test_a_site_without_trials_is_told_with_those_that_have_some(
    gridvisor: Gridvisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gridvisor("report", "list", "other") == 2
    assert capsys.readouterr().err.endswith("hint: gridvisor verify SITE --candidate FILE\n")
    kept(tmp_path, ready())
    assert gridvisor("report", "list", "other", "-o", "json") == 2
    said = "error: There is no trial of a site 'other'.\nhint: there are of: kiam-test\n"
    assert capsys.readouterr() == ("", said)


def test_show_takes_the_newest_and_every_form(
    gridvisor: Gridvisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gridvisor("report", "show") == 2
    assert "There is no trial yet." in capsys.readouterr().err
    store = kept(tmp_path, ready(), not_ready())
    assert gridvisor("report", "show") == 0
    assert capsys.readouterr().out == (GOLDEN / "not-ready.txt").read_text()
    assert gridvisor("report", "show", ready().id) == 0
    assert capsys.readouterr().out == (GOLDEN / "ready.txt").read_text()
    assert gridvisor("report", "show", "-o", "json") == 0
    assert from_json(capsys.readouterr().out.encode()) == not_ready()
    assert gridvisor("report", "show", "-o", "junit") == 0
    assert capsys.readouterr().out.startswith("<?xml")
    assert gridvisor("report", "show", "-o", "html") == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == store.folder_of(not_ready()) / "report.html"
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_an_id_that_is_none_is_told(gridvisor: Gridvisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert gridvisor("report", "show", "none") == 2
    assert gridvisor("report", "compare", "none", "none") == 2
    assert "There is no trial 'none'." in capsys.readouterr().err


def test_compare_prints_what_differs(gridvisor: Gridvisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path, ready(), not_ready())
    assert gridvisor("report", "compare", ready().id, not_ready().id) == 0
    assert capsys.readouterr().out == (GOLDEN / "compare.txt").read_text()
    assert gridvisor("report", "compare", ready().id, not_ready().id, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdicts"] == ["ready", "not ready"]
    assert {"what": "se, xrootd-server", "first": "5.8.1-1", "second": "5.9.0-1"} in found["versions"]


def test_the_shell_completes_ids_and_sites(tmp_path: Path) -> None:
    kept(tmp_path, ready(), not_ready())
    code = "import sys; sys.argv = ['gridvisor']; from gridvisor.cli.main import main; main()"
    for typed, offered in (
        ("gridvisor report show 2026", [not_ready().id, ready().id]),
        ("gridvisor report list k", ["kiam-test"]),
    ):
        asked = {"_GRIDVISOR_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": "3"}
        environment = {**os.environ, "GRIDVISOR_HOME": str(tmp_path), **asked}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == offered
