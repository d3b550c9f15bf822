"""Commands on another machine, through OpenSSH and one shared connection."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gridvisor.core.errors import Refused, TimedOut
from gridvisor.run.command import SHELL, Command, Result, Secret, Unreachable
from gridvisor.run.copying import get_through, put_through
from gridvisor.run.local import Local
from gridvisor.run.target import Target, checked
from gridvisor.run.wrapped import env_words

# sun_path of unix(7) has 108 bytes (104 on BSD); ssh binds `PATH.` and 16 letters before it renames.
_LONGEST_SOCKET = 104 - 1 - 17
_SSH_FAILED = 255

# ssh gives 255 for its own troubles, and for a command that ended with 255 or by a signal. The remote shell tells them
# apart: a signal becomes 128+N, a 255 is confirmed on stderr.
_CONFIRMED = "gridvisor: the command itself ended with 255"
_REPORT = f's=$?; [ "$s" -ne 255 ] || echo "{_CONFIRMED}" >&2; exit "$s"'
_RUN = f'"$@" || {{ {_REPORT}; }}'
# A script is run by the shell that reports: to start another takes an emulated machine a tenth of a second.
_RUN_SCRIPT = f'(set -eu; eval "shift 2; $1"); {_REPORT}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """The machine `host`, as ssh(1) reaches it; `~/.ssh/config` counts, so `host` may be an alias.

    `sockets` is a folder from `socket_folder`. With `known_hosts` the host key must be in that file; with `identity`
    no other key is offered. `via` is where ssh itself runs: this machine, or a namespace of it.
    A command that is given up at its timeout may go on over there.
    """

    host: str
    sockets: Path
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    proxy_command: str | None = None
    connect_timeout_s: int = 10
    via: Target = field(default_factory=Local)

    def __post_init__(self) -> None:
        if not self.host or self.host.startswith("-") or any(c.isspace() for c in self.host):
            raise Refused(f"'{self.host}' is not the name of a host.")

    @property
    def name(self) -> str:
        """How errors and logs call the machine."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}:{self.port}" if self.port else f"{user}{self.host}"

    @property
    def control_path(self) -> Path:
        """The socket of the shared connection: another way to the same host is another connection."""
        way = (self.name, self.identity, self.known_hosts, self.proxy_command, self.via.name)
        return self.sockets / hashlib.sha256(repr(way).encode()).hexdigest()[:16]

    @property
    def argv(self) -> tuple[str, ...]:
        """The local command; the remote one is added as a single word."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(self.connect_timeout_s),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPersist": "60",
            "ControlPath": path_option(self.control_path),
            "LogLevel": "ERROR",
        }
        if self.user:
            options["User"] = self.user
        if self.port:
            options["Port"] = str(self.port)
        if self.identity:
            options |= {"IdentityFile": path_option(self.identity), "IdentitiesOnly": "yes", "IdentityAgent": "none"}
        if self.known_hosts:
            options |= known_hosts_options(self.known_hosts)
        if self.proxy_command:
            options["ProxyCommand"] = self.proxy_command
        return ("ssh", "-T", *option_words(options), "--", self.host)

    def local(self, command: Command) -> Command:
        """The command that, run where ssh itself runs, runs `command` over there."""
        words = (*env_words(command.env), *command.argv)
        is_script = words[: len(SHELL)] == SHELL
        run = (_RUN_SCRIPT, "sh", *words[len(SHELL) :]) if is_script else (_RUN, "sh", *words)
        remote = shlex.join(("/bin/sh", "-c", *run))
        if any(isinstance(word, Secret) for word in words):
            remote = Secret(remote)
        return Command((*self.argv, remote), stdin=command.stdin)

    def terminal(self, words: Sequence[str]) -> tuple[str, ...]:
        """The local command that runs `words` over there with a terminal, for a person."""
        return (*("-tt" if word == "-T" else word for word in self.argv), shlex.join(words))

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """See Target.run."""
        try:
            result = self.via.run(self.local(command), timeout_s=timeout_s, check=False)
        except TimedOut as error:
            raise TimedOut(
                f"A command on '{self.name}' had not ended after {timeout_s:g} s, and was given up; it may go on over"
                f" there:\n    {command.shown}",
                hint="try it there by hand",
            ) from error
        stderr = result.stderr
        if result.status == _SSH_FAILED:
            stderr = stderr.replace(f"{_CONFIRMED}\n", "")
            if stderr == result.stderr:
                said = stderr.strip() or "ssh said nothing"
                raise Unreachable(f"'{self.name}' cannot be reached: {said}", hint=f"try it by hand: ssh {self.host}")
        return checked(replace(result, command=command, stderr=stderr, where=self.name), check=check)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        """See Target.put."""
        put_through(self, source, destination, timeout_s=timeout_s)

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        """See Target.get."""
        get_through(self, source, destination, timeout_s=timeout_s)

    def stop(self) -> None:
        """Close the shared connection; fine when there is none."""
        self.via.run(Command((*self.argv[:-2], "-O", "exit", "--", self.host)), timeout_s=10, check=False)


def option_words(options: Mapping[str, str]) -> tuple[str, ...]:
    """`-o KEY=VALUE` for each option of ssh_config(5)."""
    return tuple(word for key, value in options.items() for word in ("-o", f"{key}={value}"))


def path_option(path: Path) -> str:
    """A path as a value in ssh_config(5), where `%` starts a token and a blank ends the word."""
    escaped = str(path).replace("%", "%%")
    return f'"{escaped}"' if any(c.isspace() for c in escaped) else escaped


def known_hosts_options(known_hosts: Path) -> dict[str, str]:
    """Options by which only the host keys in that file are trusted, and none is ever added."""
    return {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": path_option(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
    }


def socket_folder(environ: Mapping[str, str], *, uid: int) -> Path:
    """A folder for control sockets that is short, ours and closed to others; made when it is not there.

    Raises Refused when somebody else holds its name, or its name is too long for a socket.
    """
    runtime = environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "gridvisor" if runtime else Path("/run/gridvisor" if uid == 0 else f"/tmp/gridvisor-{uid}")
    if len(str(folder)) + 1 + 16 > _LONGEST_SOCKET:
        raise Refused(f"The path '{folder}' is too long for sockets of ssh.", hint="set XDG_RUNTIME_DIR to a short one")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if folder.is_symlink() or facts.st_uid != uid or facts.st_mode & 0o077:
        raise Refused(f"'{folder}' is not a folder of ours alone.", hint=f"look who made it, then: rm -r {folder}")
    return folder
