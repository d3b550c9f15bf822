"""GLUE2 entries as ldapsearch(1) prints them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from gridvisor.app.site.account import Account
from gridvisor.core.errors import SystemSaidNo, ToolOutput
from gridvisor.run.command import Command

Entry = dict[str, list[str]]


def entries(account: Account, uri: str, base: str, filter_: str, *, scope: str = "sub") -> list[Entry]:
    """What the LDAP server at `uri` has, asked without a name. Raises SystemSaidNo when it does not answer."""
    words = ("-x", "-LLL", "-o", "ldif-wrap=no", "-o", "nettimeout=10", "-H", uri, "-b", base, "-s", scope, filter_)
    done = account.run(Command.of("ldapsearch", *words), timeout_s=60, check=False)
    if done.status == 32:  # noSuchObject of RFC 4511: it answers, and has nothing
        return []
    if done.status:
        raise SystemSaidNo(f"{uri} does not answer: {done.stderr.strip()}")
    return list(parse_ldif(done.stdout))


def parse_ldif(text: str) -> Iterator[Entry]:
    """The entries of unwrapped LDIF (RFC 2849): attribute → values, 'dn' among them.

    Raises ToolOutput for a value that is not the base64 that it says it is.
    """
    for block in text.strip().split("\n\n"):
        entry: Entry = {}
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            name, _, value = line.partition(":")
            if value.startswith(":"):
                value = _decoded(line, value[1:].strip())
            if name:
                entry.setdefault(name, []).append(value.strip())
        if entry:
            yield entry


def _decoded(line: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as error:
        raise ToolOutput(f"ldapsearch printed what is no base64: {line[:200]}") from error
