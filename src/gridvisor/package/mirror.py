"""The mirror that this machine's own apt uses for Debian, so that nobody has to name one a second time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.run.command import Command
from gridvisor.run.target import Target

TIMEOUT_S = 30

# Newest name first: Debian 13 ships the keyring under both, later ones may drop the old name.
_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg")

# The settings without which a mirror that this machine reaches is not reached, or not believed (apt.conf(5)).
_CARRIED = re.compile(
    r"Acquire::(?:(?:http|https)::[^ ]+|Check-Valid-Until|Check-Date|(?:Max|Min)-ValidTime|Max-FutureTime"
    r'|Retries|ForceIPv4|ForceIPv6|By-Hash|Proxy-Auto-Detect) "[^"]+";'
)
_ONE_LINE = re.compile(r"deb(?:\s+\[[^\]]*\])?\s+(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")
_SIDE_ARCHIVE = re.compile(r"security|debug|ports|backports")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive: its URI, the keyring that signs it, and lines for apt.conf (without the last semicolon).

    A `keyring` of None leaves the choice to the keys that apt trusts for everything.
    """

    uri: str
    keyring: Path | None = None
    apt_options: tuple[str, ...] = ()


def mirror_of_this_machine(target: Target, *, uri: str | None = None) -> Mirror:
    """The mirror of the main Debian archive that apt on `target` uses, or `uri` with that machine's apt settings.

    Raises Refused when apt there knows no Debian archive.
    """
    options = carried_options(_output(target, "apt-config", "dump"))
    found = uri or _configured(target)
    if found is None:
        raise Refused(
            f"The apt of '{target.name}' has no Debian archive among its sources.",
            hint="name one with --mirror URI",
        )
    keyrings = (Path(name) for name in _KEYRINGS if _is_there(target, name))
    return Mirror(found.rstrip("/"), next(keyrings, None), options)


def mirror_of_index_targets(text: str) -> str | None:
    """The main archive's URI in what `_INDEX_FORMAT` printed; None when apt has no lists yet."""
    for line in text.splitlines():
        uri, origin, label, component = (*line.split("\t"), "", "", "", "")[:4]
        if (origin, label, component) == ("Debian", "Debian", "main"):
            return uri
    return None


def mirror_of_sources(text: str) -> str | None:
    """The main archive's URI in text of sources.list(5), one-line and deb822 entries mixed.

    Lists that were never fetched do not say whose they are, so the URI or the keyring must speak of Debian.
    """
    for uri, suites, components, keyring in _sources(text):
        main = "main" in components and not _SIDE_ARCHIVE.search(f"{uri} {suites}")
        if main and ("debian" in uri.lower() or "debian-archive" in keyring):
            return uri
    return None


def carried_options(text: str) -> tuple[str, ...]:
    """The lines of `apt-config dump` that decide whether a mirror can be reached and is believed."""
    return tuple(line.rstrip(";") for line in text.splitlines() if _CARRIED.fullmatch(line))


_INDEX_FORMAT = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)\t$(COMPONENT)"
_ALL_SOURCES = "cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null"


def _configured(target: Target) -> str | None:
    known = _output(target, "apt-get", "indextargets", "--format", _INDEX_FORMAT, "Created-By: Packages")
    # Status 1 of cat only means that one of the three forms is not in use.
    return mirror_of_index_targets(known) or mirror_of_sources(_output(target, "/bin/sh", "-c", _ALL_SOURCES))


def _output(target: Target, *argv: str) -> str:
    return target.run(Command(argv), timeout_s=TIMEOUT_S, check=False).stdout


def _is_there(target: Target, path: str) -> bool:
    return target.run(Command.of("test", "-r", path), timeout_s=TIMEOUT_S, check=False).status == 0


def _sources(text: str) -> Iterator[tuple[str, str, str, str]]:
    """URI, suites, components and keyring of every enabled binary source."""
    for line in text.splitlines():
        if one := _ONE_LINE.fullmatch(line.strip()):
            yield one["uri"], one["suite"], one["components"], line
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza.splitlines())
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
            for uri in fields.get("uris", "").split():
                yield uri, fields.get("suites", ""), fields.get("components", ""), fields.get("signed-by", "")


def _fields(lines: Iterable[str]) -> dict[str, str]:
    """Fields of a deb822 stanza, keys in small letters; comments dropped, continued lines joined."""
    fields: dict[str, str] = {}
    key = ""
    for line in lines:
        if line.startswith("#"):
            continue
        if line[:1].isspace() and key:
            fields[key] += f" {line.strip()}"
        elif ":" in line:
            key, value = line.split(":", 1)
            key = key.strip().lower()
            fields[key] = value.strip()
    return fields
