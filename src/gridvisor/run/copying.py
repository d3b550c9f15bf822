"""Files to and from a place where all that we can do is run a command.

The content travels through stdin and stdout, in memory: meant for configuration, keys and reports, not for images.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from pathlib import Path

from gridvisor.core.errors import ToolOutput
from gridvisor.core.files import write_whole
from gridvisor.run.command import Command, script
from gridvisor.run.target import Target

_PUT = """\
temporary="$1.$$"
trap 'rm -f "$temporary"' EXIT
cat > "$temporary"
mv -f "$temporary" "$1"
"""


def put_through(target: Target, source: Path, destination: str, *, timeout_s: float) -> None:
    """Copy the local `source` to `destination` at `target`, whole or not at all, owned by who runs commands there."""
    target.run(replace(script(_PUT, destination), stdin=source.read_bytes()), timeout_s=timeout_s)


def get_through(target: Target, source: str, destination: Path, *, timeout_s: float) -> None:
    """Copy `source` from `target` to the local `destination`; base64, since a Result holds text."""
    text = target.run(Command.of("base64", "--", source), timeout_s=timeout_s).stdout
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ToolOutput(f"base64 of '{source}' on '{target.name}' cannot be read: {error}") from error
    write_whole(destination, content)
