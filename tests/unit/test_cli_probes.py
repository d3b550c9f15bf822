"""ProbeResults as lines, as a sum, and as JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest

from gridvisor.cli.probes import ProbeLines, probes_json
from gridvisor.probe.outcome import Outcome, ProbeResult

FOUND = (
    ProbeResult("ce", "answers[ce]", Outcome.PASSED, 0.5, "It answers."),
    ProbeResult("ce", "slurm_answers", Outcome.FAILED, 12.04, "Slurm answers.", "AssertionError: no\nassert 1 == 2"),
    ProbeResult("wn", "job_runs", Outcome.BLOCKED, 0.0, "A job runs.", "blocked by slurm_answers"),
    ProbeResult("wn", "breaks", Outcome.ERROR, 1.0, "It breaks.", "OSError: gone"),
    ProbeResult("se", "copies", Outcome.SKIPPED, 0.0, "It copies.", "the site has no machine of this role"),
)
SHOWN = """\
ce
  ✓ answers[ce]                           0.5 s
  ✗ slurm_answers                        12.0 s
      Slurm answers.
      | AssertionError: no
      | assert 1 == 2
wn
  - job_runs                           blocked by slurm_answers
  ! breaks                                1.0 s
      It breaks.
      | OSError: gone
se
  · copies                             the site has no machine of this role
"""


def shown(capsys: pytest.CaptureFixture[str], *found: ProbeResult, quiet: bool = False) -> str:
    """What is printed of them."""
    lines = ProbeLines(quiet=quiet)
    for result in found:
        lines.show(result)
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def test_each_result_is_a_line_and_what_went_wrong_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, *FOUND) == SHOWN


def test_a_long_story_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = ProbeResult("ce", "a", Outcome.FAILED, 1.0, "", "\n".join(f"line {number}" for number in range(20)))
    told = shown(capsys, long)
    assert (told.count("| line"), "line 7" in told, "line 8" in told) == (8, True, False)


def test_quietly_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, *FOUND, quiet=True) == ""


def test_the_sum_names_what_there_was() -> None:
    lines = ProbeLines()
    assert lines.summary(FOUND) == "5 probes in 14 s: 1 passed, 1 failed, 1 blocked, 1 error, 1 skipped"
    assert lines.summary(FOUND[:1]) == "1 probe in 0 s: 1 passed"


def test_json_has_every_field() -> None:
    data = json.loads(probes_json("kiam-test", FOUND))
    assert data["site"] == "kiam-test"
    assert [one["outcome"] for one in data["probes"]] == ["passed", "failed", "blocked", "error", "skipped"]
    assert [ProbeResult(**one) for one in data["probes"]] == list(FOUND)
    assert json.loads(probes_json("a", ())) == {"site": "a", "probes": []}


@pytest.mark.parametrize(
    ("tty", "no_color", "coloured"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_colour_is_only_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, tty: bool, no_color: bool, coloured: bool
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: tty)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    ProbeLines().show(FOUND[1])
    assert ("\033[31m✗\033[0m" in stream.getvalue()) == coloured
    assert "slurm_answers" in stream.getvalue()
