"""A process that says in lines how far it is, and goes on for as long as its standard input is open."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Sequence

from gridvisor.run.local import clean_environment


def piped(argv: Sequence[str], *, stderr: int) -> subprocess.Popen[str]:
    """Start it, with a pipe to it and one from it, in a session of its own: Ctrl-C is not for it."""
    return subprocess.Popen(
        argv,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        text=True,
    )


def next_line(process: subprocess.Popen[str], patience_s: float) -> str:
    """What it says next; empty when it has ended, and when it says nothing for so long."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], patience_s)[0]:
        return ""
    return process.stdout.readline().strip()
