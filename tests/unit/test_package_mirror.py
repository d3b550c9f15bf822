"""The mirror that apt uses is read from what apt says, else from its sources."""

from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.package.mirror import (
    carried_options,
    mirror_of_index_targets,
    mirror_of_sources,
    mirror_of_this_machine,
)
from gridvisor.run.command import Command, Result

ARCHIVE = "http://mirror.example.org/debian"

INDEX_TARGETS = f"""\
http://packages.example.org/tools/\tTools\tDebian\tmain
http://security.example.org/debian-security/\tDebian\tDebian-Security\tmain
{ARCHIVE}/\tDebian\tDebian\tcontrib
{ARCHIVE}/\tDebian\tDebian\tmain
"""

DEB822 = f"""\
Types: deb
URIs: http://tools.example.org/apt
Suites: stable
Components: main

Types: deb
URIs: http://security.example.org/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://old.example.org/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example.org/debian
Suites: trixie
Components: main

Types: deb
# the nearest one
URIs: {ARCHIVE}
Suites: trixie
 trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


class Recorded:
    """A machine whose commands answer what was recorded, by their first words."""

    name = "recorded"

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        key = "keyring" if command.argv[0] == "test" else command.argv[0].rpartition("/")[2].replace("-", "_")
        return Result(command, 0 if key in self.answers else 1, self.answers.get(key, ""), "", 0.0, self.name)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        raise NotImplementedError

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        raise NotImplementedError


def test_main_archive_is_told_from_security_and_strangers() -> None:
    assert mirror_of_index_targets(INDEX_TARGETS) == f"{ARCHIVE}/"


def test_no_lists_no_answer() -> None:
    assert mirror_of_index_targets("") is None


def test_deb822_skips_disabled_source_and_side_archives() -> None:
    assert mirror_of_sources(DEB822) == ARCHIVE


@pytest.mark.parametrize(
    "line",
    [
        f"deb {ARCHIVE} bookworm main contrib",
        f"deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {ARCHIVE} bookworm main",
        f"# deb http://commented.example.org/debian bookworm main\ndeb {ARCHIVE} bookworm main",
        f"deb http://security.example.org/debian-security bookworm-security main\n  deb {ARCHIVE} bookworm main",
    ],
)
def test_one_line_sources(line: str) -> None:
    assert mirror_of_sources(line) == ARCHIVE


def test_archive_known_by_its_keyring_alone() -> None:
    line = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://proxy.example.org/d trixie main"
    assert mirror_of_sources(line) == "http://proxy.example.org/d"


def test_foreign_sources_are_not_debian() -> None:
    assert mirror_of_sources("deb http://archive.example.org/ubuntu noble main") is None


def test_only_what_reaches_the_mirror_is_carried_over() -> None:
    dump = """\
APT::Architecture "amd64";
DPkg::Post-Invoke:: "rm -rf /";
Acquire::Languages "none";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::http::Proxy::mirror.example.org "DIRECT";
Acquire::Check-Valid-Until "false";
Acquire::AllowInsecureRepositories "1";
"""
    assert carried_options(dump) == (
        'Acquire::http::Proxy "http://proxy.example.org:3128"',
        'Acquire::http::Proxy::mirror.example.org "DIRECT"',
        'Acquire::Check-Valid-Until "false"',
    )


def test_sources_are_read_before_the_first_update() -> None:
    mirror = mirror_of_this_machine(Recorded(apt_get="", sh=DEB822, keyring=""))
    assert (mirror.uri, mirror.keyring is None) == (ARCHIVE, False)


def test_named_mirror_wins_and_keeps_the_proxy() -> None:
    machine = Recorded(apt_get=INDEX_TARGETS, apt_config='Acquire::http::Proxy "http://p.example.org";\n')
    mirror = mirror_of_this_machine(machine, uri="http://mine.example.org/debian/")
    assert mirror.uri == "http://mine.example.org/debian"
    assert mirror.apt_options == ('Acquire::http::Proxy "http://p.example.org"',)
    assert mirror.keyring is None


def test_no_debian_among_the_sources_is_refused() -> None:
    with pytest.raises(Refused, match="no Debian archive") as caught:
        mirror_of_this_machine(Recorded())
    assert caught.value.hint == "name one with --mirror URI"
