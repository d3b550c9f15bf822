"""The command line as a shell sees it: exit codes, messages, help, and what it imports."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from gridvisor.cli import main as command_line
from gridvisor.cli.main import app, main
from gridvisor.core.errors import (
    GridvisorError,
    InputError,
    Problem,
    Refused,
    Span,
    SystemSaidNo,
    TimedOut,
    Unsupported,
)
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.trial.model import Stage

Gridvisor = Callable[..., int]
ROOT = Path(__file__).resolve().parents[2]
KIAM, SID = f"{ROOT}/examples/kiam.yaml", f"{ROOT}/examples/candidates/sid-middleware.yaml"


@pytest.fixture
def gridvisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gridvisor]:
    """Runs `gridvisor WORDS` in a home with nothing in it and gives back its exit code."""
    monkeypatch.setenv("GRIDVISOR_HOME", str(tmp_path))

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["gridvisor", *words])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code

    before = signal.getsignal(signal.SIGINT)
    yield run
    signal.signal(signal.SIGINT, before)  # the command line ends deaf to it; the tests do not


def raised(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have the command line meet `error`."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fail)


PROBLEM = Problem(Span("vm1.cfg", 3, 7), "no such key")
FAILED = CommandFailed(Result(Command(("false",)), 1, "", "", 0.1, "here"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError([PROBLEM]), 2),
        (Refused("no"), 2),
        (Unsupported("cannot"), 2),
        (SystemSaidNo("the guest crashed"), 1),
        (TimedOut("too long"), 3),
        (GridvisorError("broken"), 3),
        (FAILED, 3),
        (ExceptionGroup("two", [SystemSaidNo("a"), Refused("b")]), 2),
        (ExceptionGroup("nested", [ExceptionGroup("one", [TimedOut("a")]), SystemSaidNo("b")]), 3),
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "denied", "/root/x"), 3),
        (OSError(28, "full"), 3),
    ],
    ids=repr,
)
def test_each_kind_of_error_has_its_exit_code_and_no_traceback(
    gridvisor: Gridvisor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    raised(monkeypatch, error)
    assert gridvisor() == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip()
    assert "Traceback" not in err


def test_ctrl_c_in_a_command_is_told(
    gridvisor: Gridvisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert gridvisor("domain", "top") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_every_error_of_a_group_is_told_with_its_hint(
    gridvisor: Gridvisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raised(monkeypatch, ExceptionGroup("two", [Refused("first", hint="do this"), Refused("second")]))
    gridvisor()
    assert capsys.readouterr().err == "error: first\nhint: do this\nerror: second\n"


@pytest.mark.parametrize("no_color", [False, True])
def test_an_error_has_no_colour_where_none_is_wanted(
    gridvisor: Gridvisor, monkeypatch: pytest.MonkeyPatch, no_color: bool
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    raised(monkeypatch, Refused("no"))
    gridvisor()
    assert stream.getvalue() == ("error: no\n" if no_color else "\033[31m\033[1merror: \033[0mno\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), ExceptionGroup("one", [Refused("a"), KeyError("b")])])
def test_a_bug_shows_its_traceback(
    gridvisor: Gridvisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    raised(monkeypatch, error)
    assert gridvisor() == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "bug in gridvisor" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--bogus"], "--bogus"),
        (["bogus"], "bogus"),
        (["domain", "bogus"], "bogus"),
        (["check", KIAM, "-k", "slurm"], "-k needs --live"),
        (["check", KIAM, "--junit", "a.xml"], "--junit needs --live"),
        (["check", KIAM, "--probes", "probes"], "--probes needs --live"),
        (["check", KIAM, "--live", "--probes", "/nowhere"], "'/nowhere'"),
        (["check", KIAM, "--live", "--probes", f"{ROOT}/docs/images"], "no probes in"),
        (["check", KIAM, "--live", "-k", "nosuch"], "No probe matches 'nosuch'"),
        (["check", KIAM, "--live", "-k", "x y("], "'-k': x y("),
        (["domain", "create"], "FILE"),
        (["domain", "create", "--bogus", "a.cfg"], "--bogus"),
        (["domain", "create", "none.cfg"], "none.cfg"),
        (["domain", "create", "none.cfg", "memory"], "KEY=VALUE"),
        (["domain", "list", "nobody"], "'nobody'"),
        (["domain", "console", "nobody"], "'nobody'"),
        (["domain", "shutdown"], "No domain was named"),
        (["domain", "top", "--delay", "0"], "0.2"),
        (["domain", "save", "vm1", "file"], "cannot do 'save'"),
        (["host", "prepare", "box"], "A box has"),
        (["host", "prepare", "uml"], "is no Xen host"),
        (["host", "prepare", "xen+ssh://root@dom0", "--disk", "sdb"], "'sdb' is no device"),
        (["host", "prepare", "xen+ssh://root@dom0", "--dom0-memory", "much"], "'much' is not a size"),
        (["image", "show", "nothing"], "'nothing'"),
        (["image", "rm", "../images"], "../images"),
        (["image", "build", "--size", "much"], "'much' is not a size"),
        (["verify", KIAM, "-c", SID, "--without", "all"], "self-check, fresh, upgrade, rollback"),
        (["verify", KIAM, "-c", SID, *(word for one in Stage for word in ("--without", one))], "All stages"),
        (["verify", KIAM, "-c", SID, "--probes", "/nowhere"], "'/nowhere'"),
        (["volume", "create", "vg0/a", "lots"], "'lots' is not a size"),
        (["volume", "create", "a", "1G"], "GROUP/NAME"),
        (["volume", "create", "../a", "1G"], "'..'"),
        (["volume", "rm", "vg0/none"], "vg0/none"),
        (["volume", "rm", "vg0/"], "GROUP/NAME"),
        (["volume", "rm", "vg0/a/b"], "'a/b'"),
    ],
    ids=lambda value: " ".join(value).replace(f"{ROOT}/", "") if isinstance(value, list) else None,
)
def test_wrong_words_are_told_in_a_sentence(
    gridvisor: Gridvisor, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert gridvisor(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err


def test_a_site_file_that_is_fine_is_told_as_text_or_as_json(
    gridvisor: Gridvisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gridvisor("check", KIAM) == 0
    assert capsys.readouterr().out == f"{KIAM}: site 'kiam-test' of 6 machines is fine.\n"
    assert gridvisor("check", KIAM, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"site": "kiam-test", "file": KIAM, "machines": 6}


def test_a_user_who_is_not_root_is_told_to_be(
    gridvisor: Gridvisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRIDVISOR_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (
        ["domain", "list"],
        ["image", "list"],
        ["domain", "ssh", "vm1"],
        ["volume", "list"],
        ["kernel", "build"],
    ):
        assert gridvisor(*words) == 2
        assert "sudo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("publish", "says"),
    [("80", "two ports"), ("a:b", "two ports"), ("0:80", "1 to 65535"), ("80:65536", "1 to 65535"), (":80", "two")],
)
def test_ports_are_checked_before_anything_is_made(
    gridvisor: Gridvisor, tmp_path: Path, capsys: pytest.CaptureFixture[str], publish: str, says: str
) -> None:
    config = tmp_path / "a.cfg"
    config.write_text("name = 'a'\ndisk = ['phy:vg0/a-disk,xvda1,w']\n")
    assert gridvisor("domain", "create", "--publish", publish, str(config)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "state" / "volumes").exists()


def test_volumes_are_made_listed_and_removed(gridvisor: Gridvisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert gridvisor("volume", "create", "vg0/data", "2GiB") == 0
    assert gridvisor("volume", "create", "vg0/data", "2GiB") == 2
    capsys.readouterr()
    assert gridvisor("volume", "list") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["VOLUME", "SIZE", "USED", "DOMAIN"]
    assert row.split() == ["vg0/data", "2", "GiB", "0", "B", "-"]
    assert gridvisor("volume", "rm", "vg0/data") == 0
    gridvisor("volume", "list")
    assert len(capsys.readouterr().out.splitlines()) == 1


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command and group that a user is shown."""
    left: list[tuple[tuple[str, ...], object]] = [((), typer.main.get_command(app))]
    while left:
        words, command = left.pop()
        yield words
        for name, below in getattr(command, "commands", {}).items():
            if not below.hidden:
                left.append(((*words, name), below))


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_help_says_what_a_command_is_for_and_how_to_begin(
    gridvisor: Gridvisor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert gridvisor(*words, "--help") == 0
    out = capsys.readouterr().out
    about = " ".join(("gridvisor", *words))
    assert out.startswith(f"Usage: {about} ")
    assert f"Example: {about}" in out or "Begin with: gridvisor " in out
    assert "..." not in out.partition("Commands:")[2], "a first sentence that is cut is no help"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("gridvisor dom", ["domain"]), ("gridvisor domain ssh v", ["vm1", "vm2"]), ("gridvisor volume rm vg", ["vg0/a"])],
)
def test_the_shell_completes_commands_and_names(tmp_path: Path, typed: str, offered: list[str]) -> None:
    for name in ("vm1", "vm2", "other"):
        (tmp_path / "state" / "domains" / name).mkdir(parents=True)
    volume = tmp_path / "state" / "volumes" / "vg0" / "a"
    volume.mkdir(parents=True)
    (volume / "volume.json").write_text('{"size_bytes": 1, "backing": null}')
    asked = {"_GRIDVISOR_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    code = "import sys; sys.argv = ['gridvisor']; from gridvisor.cli.main import main; main()"
    environment = {**os.environ, "GRIDVISOR_HOME": str(tmp_path), **asked}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gridvisor", "domain", "list"],
            env={**os.environ, "GRIDVISOR_HOME": str(tmp_path)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# What a look at the machine does without: each of these costs more time than the look itself.
TOO_MUCH = {"cryptography", "rich", "pydantic", "hypothesis", "asyncio", "multiprocessing", "ssl", "email", "unittest"}


@pytest.mark.parametrize(
    ("words", "too_much"),
    [
        (
            ["--help"],
            {*TOO_MUCH, "gridvisor.app", "gridvisor.monitor.uml", "gridvisor.image", "gridvisor.kernel.making"},
        ),
        (["domain", "list"], {*TOO_MUCH, "gridvisor.app.create", "gridvisor.identity.keys", "gridvisor.image.build"}),
    ],
    ids=" ".join,
)
def test_what_is_asked_often_imports_little(tmp_path: Path, words: list[str], too_much: set[str]) -> None:
    code = (
        f"import sys; sys.argv = ['gridvisor', *{words!r}]\n"
        "from gridvisor.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as leaving: assert leaving.code == 0\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    environment = {**os.environ, "GRIDVISOR_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imported = done.stderr.split()
    assert "gridvisor.cli.main" in imported
    assert sorted(too_much & set(imported)) == []


@pytest.mark.parametrize(
    ("script", "function", "page", "holds"),
    [
        ("commands.py", "page", "commands.md", "gridvisor domain create"),
        ("probes.py", "page", "probes.md", "## wn"),
        ("yaml_files.py", "page", "site.schema.json", '"MachineSpec"'),
        ("yaml_files.py", "reference", "site-file.md", "`gateway_of`"),
        ("yaml_files.py", "candidate", "candidate-file.md", "`until`"),
    ],
)
def test_pages_are_what_make_docs_writes(script: str, function: str, page: str, holds: str) -> None:
    file = ROOT / "docs" / "reference" / script
    # In a process of its own: probes are pytest files, and help depends on the terminal.
    code = f"import runpy, sys; sys.stdout.write(runpy.run_path({str(file)!r})[{function!r}]())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert file.with_name(page).read_text() == done.stdout, "run: make docs"
    assert holds in done.stdout
