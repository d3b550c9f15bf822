"""What came of probes: told apart, told in words, and as an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.core.errors import ExitCode, GridvisorError, Refused, SystemSaidNo, TimedOut, ToolOutput
from gridvisor.probe.ldap import parse_ldif
from gridvisor.probe.outcome import BLOCKED, Outcome, ProbeResult, exit_code, is_said_by_site
from gridvisor.probe.plugin import pytest_runtest_makereport
from gridvisor.probe.run import Reporter, outcome_of, require_probes, run_probes, why

PROBES = '''\
import pytest

@pytest.fixture
def broken():
    raise OSError("no such device")

@pytest.fixture
def ends_badly():
    yield
    raise OSError("left behind")

def test_good():
    """It is good. Quite."""

def test_bad():
    """It is bad.

    More of it.
    """
    assert 1 == 2, "one is not two"

def test_breaks(broken):
    pass

def test_skipped():
    pytest.skip("does not apply")

def test_blocked():
    pytest.skip("blocked by answers[ce]")

@pytest.mark.parametrize("machine", ["ce"])
def test_of(machine):
    pass

def test_ends_badly(ends_badly):
    pass
'''


def result(outcome: Outcome) -> ProbeResult:
    return ProbeResult("ce", "slurm_answers", outcome, 0.1)


def report(when: str, outcome: str, longrepr: object = None) -> pytest.TestReport:
    location = ("test_ce.py", 1, "test_a")
    return pytest.TestReport("test_ce.py::test_a", location, {}, outcome, longrepr, when)  # type: ignore[arg-type]


def run(tmp_path: Path, text: str) -> tuple[Reporter, list[ProbeResult]]:
    """What a Reporter says of a file of probes, run by pytest inside this one."""
    file = tmp_path / f"test_{tmp_path.name}_probes.py"
    file.write_text(text)
    shown: list[ProbeResult] = []
    reporter = Reporter(shown.append)
    words = ["-p", "no:terminal", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path), str(file)]
    pytest.main(words, plugins=[reporter])
    return reporter, shown


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], ExitCode.OK),
        ([Outcome.PASSED, Outcome.SKIPPED], ExitCode.OK),
        ([Outcome.PASSED, Outcome.ERROR], ExitCode.INFRASTRUCTURE),
        ([Outcome.ERROR, Outcome.FAILED, Outcome.BLOCKED], ExitCode.SAID_NO),
        ([Outcome.FAILED], ExitCode.SAID_NO),
    ],
)
def test_the_exit_code_is_the_sites_no_before_our_own_trouble(outcomes: list[Outcome], code: ExitCode) -> None:
    assert exit_code(map(result, outcomes)) is code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError("x"), True),
        (SystemSaidNo("x"), True),
        (GridvisorError("x"), False),
        (TimedOut("x"), False),
        (OSError("x"), False),
        (KeyError("x"), False),
    ],
)
def test_the_site_says_no_by_an_assertion_or_by_name(error: Exception, said: bool) -> None:
    assert is_said_by_site(error) is said


@pytest.mark.parametrize(
    ("when", "outcome", "decided"),
    [
        ("setup", "passed", None),
        ("call", "passed", Outcome.PASSED),
        ("teardown", "passed", None),
        ("setup", "failed", Outcome.ERROR),
        ("call", "failed", Outcome.FAILED),
        ("teardown", "failed", Outcome.ERROR),
    ],
)
def test_the_phase_decides(when: str, outcome: str, decided: Outcome | None) -> None:
    assert outcome_of(report(when, outcome)) is decided


@pytest.mark.parametrize("when", ["setup", "call"])
def test_a_skip_says_by_its_reason_whether_another_probe_blocks(when: str) -> None:
    blocked = report(when, "skipped", ("plugin.py", 7, f"Skipped: {BLOCKED}answers[ce]"))
    assert (outcome_of(blocked), why(blocked)) == (Outcome.BLOCKED, "blocked by answers[ce]")
    other = report(when, "skipped", ("plugin.py", 7, "Skipped: no such role"))
    assert (outcome_of(other), why(other)) == (Outcome.SKIPPED, "no such role")


def test_why_is_what_there_is() -> None:
    assert why(report("call", "failed", "only text")) == "only text"
    assert why(report("call", "passed")) == ""


def test_reports_become_results_as_they_come(tmp_path: Path) -> None:
    reporter, shown = run(tmp_path, PROBES)
    assert reporter.results == shown
    assert reporter.broken == []
    assert {one.suite for one in shown} == {f"{tmp_path.name}_probes"}
    assert [(one.probe, one.outcome, one.title, one.why.partition("\n")[0]) for one in shown] == [
        ("good", Outcome.PASSED, "It is good. Quite.", ""),
        ("bad", Outcome.FAILED, "It is bad.", "AssertionError: one is not two"),
        ("breaks", Outcome.ERROR, "", "OSError: no such device"),
        ("skipped", Outcome.SKIPPED, "", "does not apply"),
        ("blocked", Outcome.BLOCKED, "", "blocked by answers[ce]"),
        ("of[ce]", Outcome.PASSED, "", ""),
        ("ends_badly", Outcome.PASSED, "", ""),
        ("ends_badly", Outcome.ERROR, "", "OSError: left behind"),
    ]
    assert all(one.seconds > 0 for one in shown)


def test_a_file_that_cannot_be_imported_is_broken(tmp_path: Path) -> None:
    reporter, shown = run(tmp_path, "import no_such_module_of_ours\n")
    assert shown == []
    [said] = reporter.broken
    assert "no_such_module_of_ours" in said


def test_the_plugin_leaves_tests_alone_that_probe_no_site(request: pytest.FixtureRequest) -> None:
    call: pytest.CallInfo[None] = pytest.CallInfo.from_call(lambda: 1 / 0, "setup")  # type: ignore[arg-type, return-value]
    made = report("setup", "failed", "x")
    wrapper = pytest_runtest_makereport(request.node, call)
    next(wrapper)
    with pytest.raises(StopIteration) as end:
        wrapper.send(made)
    assert (end.value.value, made.when) == (made, "setup")


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", []),
        ("\n\n", []),
        ("# a comment\n", []),
        (
            "dn: o=glue\no: glue\n\ndn: GLUE2DomainID=a,o=glue\nobjectClass: GLUE2Domain\nobjectClass: Other\n",
            [
                {"dn": ["o=glue"], "o": ["glue"]},
                {"dn": ["GLUE2DomainID=a,o=glue"], "objectClass": ["GLUE2Domain", "Other"]},
            ],
        ),
        ("dn: a\nurl: https://ce.grid.test:443/arex\n", [{"dn": ["a"], "url": ["https://ce.grid.test:443/arex"]}]),
        ("dn:: 0LY=\n# x: y\nempty:\n", [{"dn": ["ж"], "empty": [""]}]),
    ],
)
def test_ldif_is_read_as_ldapsearch_prints_it(text: str, entries: list[dict[str, list[str]]]) -> None:
    assert list(parse_ldif(text)) == entries


@pytest.mark.parametrize("value", ["0LY", "=", "a*b=", "0L Y=", "ж"])
def test_ldif_with_bad_base64_is_the_tools_fault(value: str) -> None:
    with pytest.raises(ToolOutput, match="no base64: dn:: ") as caught:
        list(parse_ldif(f"o: glue\n\ndn:: {value}\n"))
    assert value in caught.value.message


@pytest.mark.parametrize("name", ["test_a.py", "a_test.py", "below/test_a.py"])
def test_a_folder_or_a_file_of_probes_is_taken(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    require_probes([tmp_path, file])


@pytest.mark.parametrize(("name", "says"), [("", "no probes in"), ("nowhere", "no folder")])
def test_what_has_no_probes_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "tests.py").touch()
    with pytest.raises(Refused, match=says):
        require_probes([tmp_path / name])


def test_an_interrupt_that_pytest_has_taken_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest, "main", lambda words, plugins: pytest.ExitCode.INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        run_probes("kiam-test", lambda result: None)
