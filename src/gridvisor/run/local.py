"""Commands on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from gridvisor.core.errors import Refused, TimedOut
from gridvisor.run.command import Command, Result
from gridvisor.run.target import checked

# What a child needs of our environment; the rest (locale, user settings) would change what tools print.
_KEPT = ("HOME", "PATH", "TMPDIR", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment() -> dict[str, str]:
    """The environment of every child: ours cut down to what matters, in the C.UTF-8 locale, with the sbin folders."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    return {**kept, "PATH": f"{kept.get('PATH', '')}:{_SYSTEM_PATH}".lstrip(":"), "LC_ALL": "C.UTF-8"}


class Local:
    """This machine. Children get a session of their own, so that Ctrl-C reaches only us."""

    name = "local"

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """See Target.run; also raises Refused when the program is not installed."""
        began_s = time.monotonic()
        try:
            child = subprocess.Popen(
                command.argv,
                env={**clean_environment(), **command.env},
                stdin=subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Refused(f"'{command.argv[0]}' is not installed on this machine.", hint="gridvisor doctor") from error
        except OSError as error:
            raise Refused(f"'{command.argv[0]}' cannot be run here: {error.strerror}.") from error
        with child:
            try:
                stdout, stderr = child.communicate(command.stdin, timeout=timeout_s)
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TimedOut(f"'{command.shown}' had not ended after {timeout_s:g} s and was killed.") from error
                raise
        status = child.returncode if child.returncode >= 0 else 128 - child.returncode
        out, err = (stream.decode("utf-8", "replace") for stream in (stdout, stderr))
        return checked(Result(command, status, out, err, time.monotonic() - began_s, self.name), check=check)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        """See Target.put."""
        _copy_whole(source, Path(destination))

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        """See Target.get."""
        _copy_whole(Path(source), destination)


def _copy_whole(source: Path, destination: Path) -> None:
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        shutil.copyfile(source, temporary)
        temporary.replace(destination)
    except OSError as error:
        raise Refused(f"'{source}' cannot be copied to '{destination}': {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
