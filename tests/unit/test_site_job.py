"""Grid jobs: what is handed to ARC's client, and what is read from it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridvisor.app.host import Host
from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.job import (
    ENDED,
    Job,
    JobResult,
    JobWish,
    command_file,
    description,
    explained,
    look,
    parse_jobs,
    run_jobs,
    stored,
    submit,
)
from gridvisor.core.errors import Refused, SystemSaidNo, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.run.command import Command, Result
from gridvisor.site.check import SHIPPED
from gridvisor.site.machine import expand
from gridvisor.site.model import Site
from gridvisor.site.role import find_roles

ID = "https://ce.grid.test:443/arex/rest/1.0/jobs/"
RECORDED = (Path(__file__).parents[1] / "data" / "arc" / "arcstat-7.0.txt").read_text()


def arcstat(*jobs: str) -> str:
    """What arcstat prints of jobs, as Job::SaveToStreamJSON of ARC's library lays them out."""
    return '{"jobs": [\n' + ",\n".join(jobs) + "\n]}\n"


def one(job_id: str, state: str, *errors: str, more: str = "") -> str:
    """One of them; strings are put there as they are."""
    said = ",\n".join(f'"{error}"' for error in errors)
    tail = f',\n "jobError": [\n{said}\n]' if errors else ""
    return f'{{\n "id": "{ID}{job_id}",\n "name": "gridvisor",\n "state": "{state}"{more}{tail}\n}}'


ARCSTAT = arcstat(
    one("0a1b", "Finished", more=',\n "exitCode": 0'),
    one("2c3d", "Failed", "LRMS error: (7) Job failed with exit code 7", "second", more=',\n "exitCode": 7'),
    one("4e5f", "Queuing", more=',\n "waitingPosition": 1'),
)
HOSTILE = [
    "a b",
    "",
    "$HOME",
    "`id`",
    "$(id)",
    '"',
    "'",
    "\\",
    "*",
    "~",
    "a\nb",
    "#",
    ";",
    "&&",
    "-n",
    "ж",
    "\t",
    "A=1",
    "!",
    "%s",
    '\\"\\',
]


def ran(words: Sequence[str]) -> list[str]:
    """The arguments that a program gets which the file of such a command starts."""
    script = command_file(JobWish(("printf", r"%s\0", *words)))
    said = subprocess.run(["sh"], input=script, capture_output=True, check=True)
    assert said.stderr == b""
    return said.stdout.decode().split("\0")[:-1]


class FakeAccount(Account):
    """An account whose commands are kept, and answered with what is given."""

    def answering(self, stdout: str = "", stderr: str = "", status: int = 0) -> FakeAccount:
        self.__dict__.update(answer=(status, stdout, stderr), commands=[])
        return self

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        self.__dict__["commands"].append(command)
        return Result(command, *self.__dict__["answer"], 0.1, "ui")


def deployment_of(tmp_path: Path, *machines: str) -> Deployment:
    data: dict[str, object] = {"site": "a", "machines": dict.fromkeys(machines)}
    site = Site.model_validate(data)
    roles = find_roles((SHIPPED,))
    return Deployment(Host(Places(tmp_path / "c", tmp_path / "s"), Bus()), site, expand(site, roles))


@pytest.fixture
def account(tmp_path: Path) -> FakeAccount:
    account = FakeAccount.of(deployment_of(tmp_path, "ui", "ce", "se"))
    assert isinstance(account, FakeAccount)
    return account


def test_jobs_are_read_from_arcstat() -> None:
    assert parse_jobs(ARCSTAT) == (
        Job(f"{ID}0a1b", "Finished", 0),
        Job(f"{ID}2c3d", "Failed", 7, "LRMS error: (7) Job failed with exit code 7; second"),
        Job(f"{ID}4e5f", "Queuing"),
    )
    assert parse_jobs("") == parse_jobs(arcstat()) == ()


def test_jobs_are_read_from_what_arcstat_printed_one_day() -> None:
    staging = "Failed in data staging: Failed checking source replica"
    no_file = "Failed to obtain information about file: No such file or directory"
    gone = 'file:/grid/session/3dff77ac5cff/a"b\\c'
    assert parse_jobs(RECORDED) == (
        Job(f"{ID}3dff77ac5cff", "Failed", 0, f"{staging} {gone}: {no_file}: Failed to stat file {gone[5:]}"),
        Job(f"{ID}3dffe92a1f29", "Finished", 0),
        Job(f"{ID}3e015c71d7ab", "Failed", None, f'{staging} root://se.grid.test:1094//dteam/no"such\\file: {no_file}'),
    )


@pytest.mark.parametrize(
    "error",
    [
        *(
            'a "quoted" word',
            '"',
            "\\",
            "C:\\new",
            "\\u12",
            "two\nlines",
            "\t",
            "ж",
            "}",
            "\n}\n",
            '"\n]\n},\n',
            "[",
            "",
        ),
        *('x",\n "state": "Finished', '\n "state": "Finished",\n "exitCode": 0', '\n "jobError": [\n'),
    ],
)
def test_whatever_a_job_has_failed_of_is_its_error_and_nothing_else(error: str) -> None:
    jobs = arcstat(one("1", "Failed", error, more=',\n "exitCode": 7'), one("2", "Finished"))
    assert parse_jobs(jobs) == (Job(f"{ID}1", "Failed", 7, error), Job(f"{ID}2", "Finished"))


@given(st.lists(st.text(), max_size=3))
def test_no_error_makes_another_state_of_a_job(errors: list[str]) -> None:
    jobs = parse_jobs(arcstat(one("1", "Failed", *errors), one("2", "Finished")))
    assert [(job.id, job.state) for job in jobs] == [(f"{ID}1", "Failed"), (f"{ID}2", "Finished")]


def test_a_job_that_cannot_be_read_leaves_the_others() -> None:
    good, read = one("2", "Finished"), Job(f"{ID}2", "Finished")
    for bad in (f'{{\n "id": "{ID}1"\n}}', one("1", "Failed", more=',\n "exitCode": x'), "1", "{}"):
        assert parse_jobs(arcstat(bad, good)) == parse_jobs(arcstat(good, bad)) == (read,)
    assert parse_jobs(f"Warning: Job not found in job list: {ID}1\n" + arcstat(good)) == (read,)
    assert parse_jobs(arcstat(good, one("1", "Failed"))[:-40]) == (read,)


def test_an_error_that_looks_like_a_job_is_not_taken_for_it() -> None:
    forged = one("1", "Failed", f"{one('2', 'Finished')}")
    assert parse_jobs(arcstat(forged.replace('"{', '"\n{'), one("2", "Running"))) == (Job(f"{ID}1", "Failed"),)


@pytest.mark.parametrize("text", ["No jobs found, try later", "{}", "[]", "null", '{"jobs": null}', ARCSTAT[:9]])
def test_what_is_no_list_of_jobs_is_said(text: str) -> None:
    with pytest.raises(ToolOutput, match="no list of jobs") as caught:
        parse_jobs(text)
    assert text[:50] in caught.value.message


@pytest.mark.parametrize(
    ("state", "exit_code", "status"),
    [
        ("Finished", 0, 0),
        ("Finished", None, 0),
        ("Finished", 3, 3),
        ("Failed", 7, 7),
        ("Failed", 0, 1),
        ("Failed", None, 1),
        ("Killed", None, 1),
        ("Deleted", 0, 1),
    ],
)
def test_the_status_is_the_jobs_own_and_0_only_for_work_that_was_done(
    state: str, exit_code: int | None, status: int
) -> None:
    assert state in ENDED
    assert JobResult(Job("x", state, exit_code), "", "").status == status


def test_a_command_reaches_its_program_word_for_word() -> None:
    assert ran(HOSTILE) == HOSTILE


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), max_size=5))
def test_any_words_do(words: list[str]) -> None:
    assert ran(["first", *words]) == ["first", *words]


def test_a_command_is_replaced_by_its_program() -> None:
    said = subprocess.run(["sh"], input=command_file(JobWish(("sh", "-c", "exit 7"))), check=False)
    assert said.returncode == 7


def test_the_description_names_every_file_once() -> None:
    plain = description(JobWish(("hostname",)), {})
    assert plain == (
        '&(executable="gridvisor-command")(jobname="gridvisor")(stdout="stdout")(stderr="stderr")'
        '(inputFiles=("gridvisor-command" ""))'
    )
    wish = JobWish(("sort", "in"), inputs=(Path("/data/in"),), outputs=("out",))
    assert description(wish, {"out": "root://se//o"}, from_store={"more": "root://se//m"}) == (
        plain[: -len('("gridvisor-command" ""))')]
        + '("gridvisor-command" "")("in" "")("more" "root://se//m"))(outputFiles=("out" "root://se//o"))'
    )


def test_quotes_in_names_are_doubled() -> None:
    text = description(JobWish(("x",), inputs=(Path('a"b)(c'),)), {'"': "u"})
    assert '("a""b)(c" "")' in text
    assert '("""" "u")' in text


def test_the_command_is_not_in_the_description() -> None:
    assert "$HOME" not in description(JobWish(("echo", "$HOME")), {})


def test_outputs_of_each_job_have_a_place_of_their_own(account: FakeAccount) -> None:
    places = [stored(account.deployment, account, "/tmp/job-X", ["a", "b"], number) for number in range(2)]
    assert places[0] == {
        "a": "root://se.grid.test:1094//dteam/jobs/job-X/1/a",
        "b": "root://se.grid.test:1094//dteam/jobs/job-X/1/b",
    }
    assert not {*places[0].values()} & {*places[1].values()}
    assert stored(account.deployment, account, "/tmp/job-X", [], 0) == {}


def test_submitting_gives_the_ids(account: FakeAccount) -> None:
    said = "".join(f"Job submitted with jobid: {ID}{number}\n" for number in (1, 2))
    ids = submit(account.answering(said), "/tmp/job-X", JobWish(("true",)), count=2)
    assert ids == [f"{ID}1", f"{ID}2"]
    [sent] = account.__dict__["commands"]
    assert sent.stdin == command_file(JobWish(("true",)))
    assert description(JobWish(("true",)), {}) in sent.argv
    assert "https://ce.grid.test:443/arex" in sent.argv
    assert [*sent.argv][-4:] == ["--instances-min", "2", "--instances-max", "2"]


@pytest.mark.parametrize(("count", "status", "counted"), [(2, 0, "2 jobs"), (1, 1, "1 job")])
def test_jobs_that_were_not_taken_are_the_sites_fault(
    account: FakeAccount, count: int, status: int, counted: str
) -> None:
    said = account.answering(f"Job submitted with jobid: {ID}1\n", "ERROR: no queue\n", status)
    with pytest.raises(SystemSaidNo, match=rf"'ce' took 1 of {counted}\.(.|\n)*no queue") as caught:
        submit(said, "/tmp/job-X", JobWish(("true",)), count=count)
    assert caught.value.hint


def test_jobs_are_looked_at_in_the_order_asked_and_missing_ones_are_unknown(account: FakeAccount) -> None:
    said = account.answering(f"Warning: not in the list\n{ARCSTAT}", "WARNING: Job not found\n")
    jobs = look(said, [f"{ID}4e5f", f"{ID}gone", f"{ID}0a1b"])
    assert jobs == (
        Job(f"{ID}4e5f", "Queuing"),
        Job(f"{ID}gone", "Unknown", error="Warning: not in the list\nWARNING: Job not found"),
        Job(f"{ID}0a1b", "Finished", 0),
    )


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("a/x", "b/x"), "would be 'x', and so would be '.*a/x'"),
        (("a/x", "a/x"), "would be 'x', and so would be '.*a/x'"),
        (("gridvisor-command",), "gridvisor-command' has a name that gridvisor's own files have"),
        (("stdout",), "would be 'stdout', and so would be what its command prints"),
    ],
)
def test_inputs_that_would_overwrite_one_another_are_refused(tmp_path: Path, names: tuple[str, ...], why: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    wish = JobWish(("true",), inputs=tuple(tmp_path / name for name in names))
    with pytest.raises(Refused, match=why) as caught:
        run_jobs(deployment_of(tmp_path / "home", "ui", "ce"), wish, timeout_s=1)
    assert caught.value.hint
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("machines", "wish", "why"),
    [
        (("ui", "ce"), JobWish(()), "no command"),
        (("ui",), JobWish(("true",)), "no computing element"),
        (("ui", "ce"), JobWish(("true",), outputs=("o",)), "no storage element"),
        (("ui", "ce"), JobWish(("true",), inputs=(Path("/nonexistent/i"),)), "no file '/nonexistent/i'"),
        (("ui", "ce", "se"), JobWish(("true",), outputs=("/etc/passwd",)), "not the name of a file"),
        (("ui", "ce", "se"), JobWish(("true",), outputs=("a/../../b",)), "not the name of a file"),
        (("ce",), JobWish(("true",)), "no user interface"),
        (("ui", "ce"), JobWish(("true",), user="eve"), "no user 'eve'"),
    ],
)
def test_what_cannot_be_a_job_is_refused_before_anything_is_done(
    tmp_path: Path, machines: tuple[str, ...], wish: JobWish, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        run_jobs(deployment_of(tmp_path, *machines), wish, timeout_s=1)
    assert list(tmp_path.iterdir()) == []


# As A-REX 7.0 keeps it of a job that Slurm 26.05 did not take; before it there is the whole script.
ERRORS = """\
exit $RESULT
-------------------------------------------------------------------

job *NOT* submitted successfully!
got error code from sbatch: 255 !
Output is:
sbatch: option '--get-user-env' doesn't allow an argument
Try "sbatch --help" for more information
----- exiting submit_slurm_job -----

2026-11-26T11:29:46Z Job state change SUBMIT -> FINISHING   Reason: Job failure detected
2026-11-26T11:29:46Z Job state change FINISHING -> FINISHED
"""


def test_why_a_job_did_not_even_run_is_told() -> None:
    asked: list[Sequence[str]] = []

    class Told:
        def run(self, command: Command, **_: object) -> Result:
            asked.append(command.argv)
            return Result(command, 0, ERRORS, "", 0.0, "ui")

    account: Any = Told()
    jobs = [
        Job("1", "Finished", 0),
        Job("2", "Failed", None, "Job submission to LRMS failed"),
        Job("3", "Failed", 7, "7"),
    ]
    told = explained(account, jobs)
    assert (told[0], told[2]) == (jobs[0], jobs[2]), "what ran tells for itself"
    first, *lines = told[1].error.splitlines()
    assert first == "Job submission to LRMS failed"
    assert "    | sbatch: option '--get-user-env' doesn't allow an argument" in lines
    assert len(lines) == 8
    [argv] = asked
    assert argv[-1] == "2/diagnose/errors"


def test_a_job_of_which_nothing_more_is_known_stays_as_it_is() -> None:
    account: Any = SimpleNamespace(run=lambda command, **_: Result(command, 22, "", "404", 0.0, "ui"))
    job = Job("2", "Failed", None, "Job submission to LRMS failed")
    assert explained(account, [job]) == (job,)
