"""The ssh target against a throw-away sshd on this machine, and inside a network's namespace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from gridvisor.core.errors import TimedOut
from gridvisor.core.places import Places
from gridvisor.network.connect import proxy_command, ssh_argv
from gridvisor.network.namespace import HostNetwork
from gridvisor.run.command import Command, CommandFailed, Unreachable, script
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh
from gridvisor.run.wrapped import Wrapped

pytestmark = pytest.mark.uml
# sshd(8) of OpenSSH 9.8 and 10.0 runs programs of its own, which it looks for where its package puts them.
PARTS = {"SshdSessionPath": "usr/lib/openssh/sshd-session", "SshdAuthPath": "usr/lib/openssh/sshd-auth"}


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int
    sshd: tuple[str, ...]

    def config(self, address: str) -> Path:
        host = f"[{address}]:{self.port}" if self.port != 22 else address
        public = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"{host} {public}")
        path = self.folder / "sshd_config"
        path.write_text(
            f"ListenAddress {address}\nPort {self.port}\nHostKey {self.folder}/host_key\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nAuthorizedKeysFile {self.folder}/key.pub\nPermitRootLogin prohibit-password\n"
        )
        return path


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The words that run sshd: out of its package, unpacked, since where it is installed Debian starts it as well."""
    folder = tmp_path_factory.mktemp("sshd")
    subprocess.run(["apt-get", "download", "-q", "openssh-server"], cwd=folder, check=True, capture_output=True)
    [package] = folder.glob("*.deb")
    subprocess.run(["dpkg", "-x", package, folder], check=True)
    parts = [f"-o{option}={folder / path}" for option, path in PARTS.items() if (folder / path).exists()]
    # The package would make the user that it gives up its rights to.
    users = folder / "passwd"
    users.write_text(f"{Path('/etc/passwd').read_text()}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
    sees = ("bwrap", "--dev-bind", "/", "/", "--ro-bind", str(users), "/etc/passwd", "--cap-add", "ALL")
    return (*sees, "--die-with-parent", "--", str(folder / "usr/sbin/sshd"), "-D", "-e", *parts)


@pytest.fixture
def server(sshd: tuple[str, ...]) -> Iterator[Server]:
    """Keys in a folder with a short name, since a socket goes there too."""
    Path("/run/sshd").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="gv") as name, socket.socket() as probe:
        for key in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{name}/{key}"], check=True)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        yield Server(Path(name), port, sshd)


def serve(server: Server, address: str, *prefix: str) -> subprocess.Popen[bytes]:
    words = [*prefix, *server.sshd, "-f", str(server.config(address))]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"listening on" in line:
            break
    return process


@pytest.fixture
def ssh(server: Server) -> Iterator[Ssh]:
    process = serve(server, "127.0.0.1")
    ssh = Ssh(
        host="127.0.0.1",
        port=server.port,
        sockets=server.folder,
        identity=server.folder / "key",
        known_hosts=server.folder / "known_hosts",
    )
    yield ssh
    ssh.stop()
    process.terminate()
    process.communicate()


def test_words_arrive_as_they_are(ssh: Ssh) -> None:
    words = ("a b", "$HOME", "'", '"', "*", "\\", "", "\n", "ü")
    result = ssh.run(Command.of("printf", "<%s>", *words, X="1 2"), timeout_s=20)
    assert result.stdout == "".join(f"<{word}>" for word in words)
    assert ssh.run(Command.of("sh", "-c", 'echo "$X"', X="1 2"), timeout_s=20).stdout == "1 2\n"
    assert ssh.run(Command.of("cat", stdin=b"in"), timeout_s=20).stdout == "in"
    assert ssh.run(Command.of("cat"), timeout_s=20).stdout == ""


def test_one_connection_is_shared_until_stop(ssh: Ssh) -> None:
    client = script('echo "$SSH_CONNECTION"')
    one, two = (ssh.run(client, timeout_s=20).stdout for _ in range(2))
    assert one == two
    assert ssh.control_path.is_socket()
    ssh.stop()
    assert not ssh.control_path.exists()
    ssh.stop()
    assert ssh.run(client, timeout_s=20).stdout != one


def test_three_outcomes(ssh: Ssh, server: Server) -> None:
    assert ssh.run(Command.of("true"), timeout_s=20).status == 0
    for status in (1, 127, 255):
        with pytest.raises(CommandFailed) as failed:
            ssh.run(script(f"echo said >&2; exit {status}"), timeout_s=20)
        assert (failed.value.result.status, failed.value.result.stderr) == (status, "said\n")
    with pytest.raises(Unreachable, match="Connection refused"):
        replace(ssh, port=1).run(Command.of("true"), timeout_s=20)
    stranger = server.folder / "nobody"
    stranger.touch()
    with pytest.raises(Unreachable, match="Host key verification failed"):
        replace(ssh, known_hosts=stranger).run(Command.of("true"), timeout_s=20)


def test_a_remote_signal_is_not_a_lost_connection(ssh: Ssh) -> None:
    for killed in (Command.of("sh", "-c", "kill -KILL $$"), script("sh -c 'kill -KILL $PPID'; sleep 5")):
        assert ssh.run(killed, timeout_s=20, check=False).status == 128 + signal.SIGKILL


def test_a_script_is_one_as_anywhere_else(ssh: Ssh) -> None:
    """By the shell that reports how it ended."""
    body = """printf '<%s>' "$0" "$@"; cat; trap 'echo bye' EXIT; false; echo on"""
    result = ssh.run(script(body, "a b", "'", "$HOME", stdin=b"in"), timeout_s=20, check=False)
    assert (result.status, result.stdout) == (1, "<sh><a b><'><$HOME>inbye\n")
    unset = ssh.run(script('echo "$nobody"'), timeout_s=20, check=False)
    assert (unset.status, "nobody" in unset.stderr) == (2, True)


def test_a_connection_that_is_cut_is_unreachable(ssh: Ssh) -> None:
    """The remote command ends the server's process for this connection, as a crash would."""
    with pytest.raises(Unreachable):
        ssh.run(script("kill -KILL $PPID; sleep 5"), timeout_s=20)
    assert ssh.run(Command.of("true"), timeout_s=20).status == 0


def test_a_timeout_is_told(ssh: Ssh) -> None:
    with pytest.raises(TimedOut):
        ssh.run(Command.of("sleep", "30"), timeout_s=1)


def test_files_go_both_ways(ssh: Ssh, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "a").write_bytes(content)
    ssh.put(tmp_path / "a", str(tmp_path / "b c"), timeout_s=20)
    Wrapped(ssh, ("env", "--"), "wrapped").get(str(tmp_path / "b c"), tmp_path / "d", timeout_s=20)
    assert (tmp_path / "d").read_bytes() == content


def test_ssh_into_a_namespace(server: Server, tmp_path: Path) -> None:
    network = HostNetwork(Places(tmp_path / "c", tmp_path / "s"))
    network.ensure()
    enter = ("nsenter", f"--net=/run/netns/{network.namespace}", "--")
    address = IPv4Address("10.77.0.1")
    server = replace(server, port=22)
    key, known_hosts = server.folder / "key", server.folder / "known_hosts"
    process = serve(server, str(address), *enter)
    try:
        argv = ssh_argv(network.way, address, key=key, known_hosts=known_hosts, command=["echo", "a  b"])
        assert Local().run(Command(tuple(argv)), timeout_s=20).stdout == "a  b\n"
        ways = (
            Ssh(
                host=str(address),
                sockets=server.folder,
                identity=key,
                known_hosts=known_hosts,
                via=network.in_namespace(Local()),
            ),
            Ssh(
                host=str(address),
                sockets=server.folder,
                identity=key,
                known_hosts=known_hosts,
                proxy_command=proxy_command(network.namespace),
            ),
        )
        for way in ways:
            assert way.run(Command.of("echo", "in"), timeout_s=20).stdout == "in\n"
            way.stop()
    finally:
        process.terminate()
        process.communicate()
        network.remove()
    assert not network.exists()
