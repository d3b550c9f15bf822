"""`check --live`: the shipped suites, and others' folders, on one site; what came of each probe as it happens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from importlib.resources import files
from pathlib import Path

import pytest

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.probe.outcome import BLOCKED, Outcome, ProbeResult

# From what all others need to what needs all others.
SUITES = ("machine", "ui", "ce", "wn", "se", "mon", "site")
_FILES = ("test_*.py", "*_test.py")  # as pytest has it


def require_probes(folders: Sequence[Path]) -> None:
    """Raise Refused for one of `folders` that is not there, or that pytest would find no probes in."""
    for folder in folders:
        if not folder.exists():
            raise Refused(f"There is no folder '{folder}' of probes.", hint="--probes names one of files test_*.py")
        if folder.is_dir() and not any(file for name in _FILES for file in folder.rglob(name)):
            raise Refused(f"There are no probes in '{folder}'.", hint="they are in files that are called test_*.py")


def run_probes(
    named: str,
    show: Callable[[ProbeResult], None],
    *,
    folders: Sequence[Path] = (),
    select: str | None = None,
    junit: Path | None = None,
) -> tuple[ProbeResult, ...]:
    """Run the shipped probes and those in `folders` on the site `named`; `show` is told of each as it ends.

    `select` is an expression as of pytest's -k. Raises Refused for one that cannot be read or selects nothing, and for
    folders as `require_probes` does; GridvisorError when pytest itself cannot run them, such as for a file that cannot
    be imported.
    """
    require_probes(folders)
    shipped = files("gridvisor.probe.suites")
    reporter = Reporter(show)
    words = [
        # Quiet, since `show` tells it all; pytest's own files and settings of the folder we are in do not count.
        *("-p", "no:terminal", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(shipped)),
        *("-p", "gridvisor", "--strict-markers", "--grid-site", named),
        *(str(shipped.joinpath(f"test_{suite}.py")) for suite in SUITES),
        *(str(folder) for folder in folders),
        *(("-k", select) if select else ()),
        *((f"--junitxml={junit}", "-o", "junit_suite_name=gridvisor") if junit else ()),
    ]
    status = pytest.main(words, plugins=[reporter])
    if status == pytest.ExitCode.INTERRUPTED and not reporter.broken:
        raise KeyboardInterrupt  # which pytest takes for itself
    if reporter.broken:
        raise GridvisorError("Probes cannot be read:\n" + "\n".join(reporter.broken))
    if reporter.refused:
        raise Refused(f"{reporter.refused}.", hint="-k takes names of probes, or parts of them, and: and, or, not, ( )")
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise Refused(f"No probe matches '{select}'.", hint="gridvisor check --live without -k runs all")
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise GridvisorError(f"pytest ended with status {int(status)}.")
    return tuple(reporter.results)


class Reporter:
    """The part of pytest that would print: turns its reports into results."""

    def __init__(self, show: Callable[[ProbeResult], None]) -> None:
        self.results: list[ProbeResult] = []
        self.broken: list[str] = []
        self.refused = ""
        self._show = show
        self._titles: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_main(self) -> Generator[None, object, object]:
        """Keep what pytest says of its own words, which it would print."""
        try:
            return (yield)
        except pytest.UsageError as error:
            self.refused = str(error)
            return pytest.ExitCode.USAGE_ERROR

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        doc = item.obj.__doc__ if isinstance(item, pytest.Function) else ""
        self._titles[item.nodeid] = (doc or "").strip().partition("\n")[0]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        outcome = outcome_of(report)
        if outcome is None:
            return
        suite, _, name = report.nodeid.rpartition("::")
        result = ProbeResult(
            Path(suite).stem.removeprefix("test_"),
            name.removeprefix("test_"),
            outcome,
            self._seconds[report.nodeid],
            self._titles.get(report.nodeid, ""),
            why(report),
        )
        self.results.append(result)
        self._show(result)


def outcome_of(report: pytest.TestReport) -> Outcome | None:
    """What this report of one phase decides; None when it decides nothing, as a good setup does."""
    if report.failed:
        return Outcome.FAILED if report.when == "call" else Outcome.ERROR
    if report.skipped:
        return Outcome.BLOCKED if BLOCKED in why(report) else Outcome.SKIPPED
    return Outcome.PASSED if report.when == "call" else None


def why(report: pytest.TestReport) -> str:
    """The message of what was raised, without the source around it."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message)
    return str(report.longrepr or "")
