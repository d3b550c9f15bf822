"""The reports that lie beside a trial."""

from __future__ import annotations

from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.report import html, junit, text
from gridvisor.trial.model import Trial

PAGE = "report.html"


def write_reports(trial: Trial, folder: Path) -> Path:
    """Write the trial's reports into its folder: the page, whose path comes back, JUnit's XML and the text."""
    write_whole(folder / "junit.xml", junit.render(trial))
    write_whole(folder / "verdict.txt", text.render(trial) + "\n")
    page = folder / PAGE
    write_whole(page, html.render(trial))
    return page
