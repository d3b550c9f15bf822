"""The terminal of this command joined to a guest's console, until ctrl-] or the guest's end."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gridvisor.core.errors import GridvisorError
from gridvisor.monitor.protocol import ConsoleCommand, ConsoleFiles
from gridvisor.monitor.uml.monitor import connect

LEAVE = b"\x1d"  # ctrl-], as with `xl console` and virsh
_HOW_TO_LEAVE = "(ctrl-] leaves the console)\n"


def attach(console: ConsoleFiles | ConsoleCommand) -> None:
    """Attach the console of a guest, as its monitor says; a command takes our place."""
    if isinstance(console, ConsoleCommand):
        if sys.stdin.isatty():
            sys.stderr.write(_HOW_TO_LEAVE)
            sys.stderr.flush()
        os.execvp(console.argv[0], console.argv)
    _copy(console.socket)


def _copy(path: Path) -> None:
    """Copy bytes both ways. Without a terminal, only what the guest says is copied, until it ends or we are ended."""
    typing = sys.stdin.isatty()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console, _raw(typing):
        try:
            connect(console, path)
        except OSError as error:
            raise GridvisorError(f"The console does not answer: {error.strerror}.") from error
        sources: list[socket.socket | int] = [console, sys.stdin.fileno()] if typing else [console]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if console in ready:
                said = console.recv(65536)
                if not said:
                    return
                os.write(sys.stdout.fileno(), said)
            if typing and sys.stdin.fileno() in ready:
                typed = os.read(sys.stdin.fileno(), 4096)
                before, leave, _ = typed.partition(LEAVE)
                console.sendall(before)
                if leave or not typed:
                    return


@contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    sys.stderr.write(_HOW_TO_LEAVE)
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write("\r\n")
