from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.run.command import Command, CommandFailed, Result, Secret, Unreachable, script
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh, socket_folder
from gridvisor.run.wrapped import Wrapped, chroot, netns, sudo

REPORT = (
    '/bin/sh -c \'"$@" || { s=$?; [ "$s" -ne 255 ] || '
    'echo "gridvisor: the command itself ended with 255" >&2; exit "$s"; }\' sh '
)


@dataclass
class Recorder:
    """A place that runs nothing and remembers what it was given."""

    status: int = 0
    stderr: str = ""
    name: str = "dom0"
    ran: list[Command] = field(default_factory=list)

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        assert not check  # a wrapper judges by itself, in its own name
        self.ran.append(command)
        return Result(command, self.status, "", self.stderr, 0.0, self.name)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        raise NotImplementedError

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        raise NotImplementedError


COMMAND = Command.of("dpkg", "-i", "a b.deb", stdin=b"yes", X="1 2")


@pytest.mark.parametrize(
    ("wrap", "argv", "name"),
    [
        (sudo, "sudo|-n|--|env|X=1 2|dpkg|-i|a b.deb", "dom0(root)"),
        (lambda t: chroot(t, "/mnt/g"), "chroot|/mnt/g|env|X=1 2|dpkg|-i|a b.deb", "dom0:/mnt/g"),
        (lambda t: netns(t, "gv"), "nsenter|--net=/run/netns/gv|--|env|X=1 2|dpkg|-i|a b.deb", "dom0@gv"),
        (
            lambda t: chroot(sudo(t), "/mnt/g"),
            "sudo|-n|--|chroot|/mnt/g|env|X=1 2|dpkg|-i|a b.deb",
            "dom0(root):/mnt/g",
        ),
        (
            lambda t: netns(sudo(t), "gv"),
            "sudo|-n|--|nsenter|--net=/run/netns/gv|--|env|X=1 2|dpkg|-i|a b.deb",
            "dom0(root)@gv",
        ),
        (
            lambda t: chroot(netns(sudo(t), "gv"), "/g"),
            "sudo|-n|--|nsenter|--net=/run/netns/gv|--|chroot|/g|env|X=1 2|dpkg|-i|a b.deb",
            "dom0(root)@gv:/g",
        ),
    ],
)
def test_the_whole_argv(wrap: object, argv: str, name: str) -> None:
    inner = Recorder()
    assert callable(wrap)
    result = wrap(inner).run(COMMAND, timeout_s=1)
    assert inner.ran == [Command(tuple(argv.split("|")), stdin=b"yes")]
    assert (result.command, result.where) == (COMMAND, name)


OPTIONS = [
    *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
    *("-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", "ControlPath=SOCKET", "-o", "LogLevel=ERROR"),
]


@pytest.mark.parametrize(
    ("options", "words", "name"),
    [
        ({}, [], "alpha"),
        ({"user": "ada"}, ["-o", "User=ada"], "ada@alpha"),
        ({"user": "ada", "port": 2222}, ["-o", "User=ada", "-o", "Port=2222"], "ada@alpha:2222"),
        (
            {"identity": Path("/k/a b")},
            ["-o", 'IdentityFile="/k/a b"', "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"],
            "alpha",
        ),
        (
            {"known_hosts": Path("/k/%h")},
            [
                *("-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=/k/%%h"),
                *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no"),
            ],
            "alpha",
        ),
        ({"proxy_command": "nc %h %p"}, ["-o", "ProxyCommand=nc %h %p"], "alpha"),
    ],
)
def test_ssh_argv(options: dict[str, object], words: list[str], name: str) -> None:
    via = Recorder()
    ssh = Ssh(host="alpha", sockets=Path("/run/s"), via=via, **options)  # type: ignore[arg-type]
    ssh.run(COMMAND, timeout_s=1)
    socket = str(ssh.control_path)
    expected = [w.replace("SOCKET", socket) for w in OPTIONS]
    expected += [*words, "--", "alpha", f"{REPORT}env 'X=1 2' dpkg -i 'a b.deb'"]
    assert list(via.ran[0].argv) == expected
    assert via.ran[0].stdin == b"yes"
    assert ssh.name == name
    ssh.stop()
    assert via.ran[1].argv[-4:] == ("-O", "exit", "--", "alpha")


def test_wrapped_ssh_is_one_remote_line() -> None:
    via = Recorder()
    chroot(sudo(Ssh(host="dom0", sockets=Path("/s"), via=via)), "/mnt/g").run(COMMAND, timeout_s=1)
    assert via.ran[0].argv[-1] == f"{REPORT}sudo -n -- chroot /mnt/g env 'X=1 2' dpkg -i 'a b.deb'"


def test_another_way_to_a_host_is_another_connection() -> None:
    one = Ssh(host="a", sockets=Path("/s"))
    ways = [
        one,
        Ssh(host="a", sockets=Path("/s"), port=1),
        Ssh(host="a", sockets=Path("/s"), via=netns(Local(), "gv")),
        Ssh(host="a", sockets=Path("/s"), identity=Path("/k")),
    ]
    assert len({way.control_path for way in ways}) == len(ways)
    assert len(one.control_path.name) == 16


def test_three_outcomes_of_ssh() -> None:
    def outcome(status: int, stderr: str) -> Result:
        via = Recorder(status, stderr)
        return Ssh(host="alpha", sockets=Path("/s"), via=via).run(Command.of("false"), timeout_s=1)

    assert outcome(0, "").status == 0
    with pytest.raises(CommandFailed) as said_no:
        outcome(3, "no")
    assert str(said_no.value) == "A command on 'alpha' failed with status 3:\n    false\n    | no"
    with pytest.raises(Unreachable, match="'alpha' cannot be reached: ssh: No route to host") as lost:
        outcome(255, "ssh: No route to host\n")
    assert not isinstance(lost.value, CommandFailed)
    with pytest.raises(CommandFailed, match="status 255") as failed:
        outcome(255, "oh\ngridvisor: the command itself ended with 255\n")
    assert failed.value.result.stderr == "oh\n"


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a\nb"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(Refused, match="not the name of a host"):
        Ssh(host=host, sockets=Path("/s"))


def test_secrets_stay_secret_in_every_wrapper() -> None:
    command = Command.of("login", Secret("hunter2"), TOKEN=Secret("t0ken"))
    for wrap in (sudo, lambda inner: Ssh(host="a", sockets=Path("/s"), via=inner)):
        inner = Recorder(status=1)
        with pytest.raises(CommandFailed) as caught:
            wrap(inner).run(command, timeout_s=1)
        executed = " ".join(inner.ran[0].argv)
        assert "hunter2" in executed
        assert "t0ken" in executed
        for text in (str(caught.value), inner.ran[0].shown):
            assert "hunter2" not in text
            assert "t0ken" not in text


def test_a_failure_is_told_in_the_wrappers_name() -> None:
    with pytest.raises(CommandFailed, match=r"A command on 'dom0\(root\)' failed with status 1:\n    true"):
        sudo(Recorder(status=1)).run(Command.of("true"), timeout_s=1)
    assert sudo(Recorder(status=1)).run(Command.of("true"), timeout_s=1, check=False).status == 1


@pytest.fixture
def here() -> Wrapped:
    """A wrapper that anybody may use: a clean environment."""
    return Wrapped(Local(), ("env", "--"), "here")


def test_files_go_through_a_wrapper(here: Wrapped, tmp_path: Path) -> None:
    content = bytes(range(256)) * 300
    (tmp_path / "source").write_bytes(content)
    there = tmp_path / "with 'quotes' and $blanks"
    here.put(tmp_path / "source", str(there), timeout_s=10)
    assert there.read_bytes() == content
    here.get(str(there), tmp_path / "back", timeout_s=10)
    assert (tmp_path / "back").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["source", there.name, "back"])


def test_files_that_cannot_be_copied_leave_nothing(here: Wrapped, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(CommandFailed):
        here.put(tmp_path / "source", str(tmp_path / "absent" / "file"), timeout_s=10)
    with pytest.raises(CommandFailed, match="No such file"):
        here.get(str(tmp_path / "absent"), tmp_path / "back", timeout_s=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "taken"]


def test_scripts_run_under_a_wrapper(here: Wrapped) -> None:
    command = replace(script('echo "$1-$X"', "a b"), env={"X": "1 2"})
    assert here.run(command, timeout_s=10).stdout == "a b-1 2\n"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is short enough for a socket, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_socket_folder_is_ours_alone(short: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(short)}
    folder = socket_folder(environ, uid=os.getuid())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert socket_folder(environ, uid=os.getuid()) == folder
    folder.chmod(0o755)
    with pytest.raises(Refused, match="not a folder of ours alone"):
        socket_folder(environ, uid=os.getuid())
    folder.rmdir()
    (short / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(short / "elsewhere")
    with pytest.raises(Refused, match="not a folder of ours alone"):
        socket_folder(environ, uid=os.getuid())


def test_the_socket_folder_is_short(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="too long"):
        socket_folder({"XDG_RUNTIME_DIR": str(tmp_path / ("x" * 80))}, uid=os.getuid())
