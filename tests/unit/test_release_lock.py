"""A release on disk, and what apt is asked."""

from __future__ import annotations

from pathlib import Path

from gridvisor.package.apt import PackageVersion
from gridvisor.release.candidate import Candidate, Source
from gridvisor.release.lock import LOCK, RolePackages, file_name, lock_text, read_release, release_id
from gridvisor.release.resolve import installed, preferences

MUNGE = PackageVersion("munge", "1:0.5.18-1", "amd64", "ab" * 32)
ROLES = {
    "ce": RolePackages(("munge",), (MUNGE,), ("libmunge1",)),
    "ui": RolePackages(("arc",), refused="E: unmet dependencies"),
    "se": RolePackages(),
}
STATUS = """\
Package: munge
Status: install ok installed
Version: 0.5.16-1

Package: libgone
Status: deinstall ok config-files
Version: 1

Package: xrootd-server
Essential: no
Status: install ok installed
"""


def test_a_release_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(lock_text("next", ROLES))
    release = read_release(tmp_path)
    assert release is not None
    assert (release.candidate, release.roles, release.folder) == ("next", ROLES, tmp_path)
    assert release.id == release_id("next", ROLES)


def test_what_is_torn_is_no_release(tmp_path: Path) -> None:
    assert read_release(tmp_path) is None
    (tmp_path / LOCK).write_text(lock_text("next", ROLES)[:-20])
    assert read_release(tmp_path) is None


def test_other_packages_have_another_id() -> None:
    other = {**ROLES, "se": RolePackages(("munge",), (MUNGE,))}
    assert len({release_id("next", ROLES), release_id("next", other), release_id("last", ROLES)}) == 3
    assert release_id("next", ROLES) == release_id("next", dict(reversed(ROLES.items())))


def test_a_file_is_called_as_apt_calls_it() -> None:
    assert file_name(MUNGE) == "munge_1%3a0.5.18-1_amd64.deb"


def test_installed_is_what_dpkg_has_whole() -> None:
    assert installed(STATUS) == ("munge", "xrootd-server")


def test_what_is_on_trial_wins_over_the_baseline() -> None:
    suites = [Source("sid", None, (name,), {}) for name in "ab"]
    sources = (suites[0], Source(None, Path("/debs"), ("*",), {}), suites[1])
    text = preferences(Candidate(Path("c.yaml"), "c", "", sources, None, ()))
    assert text.count("release n=sid") == 1
    assert text.index('Pin: origin ""') < text.index("release n=sid")
