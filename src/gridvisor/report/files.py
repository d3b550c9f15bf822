"""The reports that lie beside a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gridvisor.core.files import write_whole
from gridvisor.report import html, junit, text
from gridvisor.report.timeline import Job
from gridvisor.trial.model import Trial

PAGE = "report.html"
_JOBS = "jobs.json"
_ADAPTER = TypeAdapter(tuple[Job, ...])


def write_reports(trial: Trial, folder: Path, *, jobs: Sequence[Job] | None = None) -> Path:
    """Write the trial's reports into its folder: the page, whose path comes back, JUnit's XML and the text.

    `jobs` are those that ran beside the upgrade, for the page's timeline. They are kept there too, for the next time;
    with None, those that were kept are shown.
    """
    if jobs is None:
        jobs = _kept_jobs(folder / _JOBS)
    else:
        write_whole(folder / _JOBS, _ADAPTER.dump_json(tuple(jobs)))
    write_whole(folder / "junit.xml", junit.render(trial))
    write_whole(folder / "verdict.txt", text.render(trial) + "\n")
    page = folder / PAGE
    write_whole(page, html.render(trial, jobs=jobs))
    return page


def _kept_jobs(file: Path) -> tuple[Job, ...]:
    """The jobs of that file; none when there are none, or they cannot be read: the rest of the page is as good."""
    try:
        return _ADAPTER.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return ()
