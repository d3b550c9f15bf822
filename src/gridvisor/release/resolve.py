"""What apt would do on a machine, asked here: with the lists of several suites, and the machine's own dpkg status."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from gridvisor.core.errors import GridvisorError
from gridvisor.core.files import locked, write_whole
from gridvisor.package.apt import (
    DOWNLOAD_TIMEOUT_S,
    MAX_AGE_H,
    QUERY_TIMEOUT_S,
    UPDATE_TIMEOUT_S,
    configuration,
    packages_of_uris,
    root_of,
    source_line,
)
from gridvisor.package.mirror import Mirror
from gridvisor.release.candidate import Candidate
from gridvisor.release.lock import RolePackages
from gridvisor.release.repository import deb_fields, write_index
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.run.target import Target

_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)
_EMPTY = ("etc/preferences.d", "etc/apt.conf.d")  # apt warns when they are not there
_APT_SAYS_NO = 100  # apt-get(8), DIAGNOSTICS
_LAST_LINES = 12
STAMP = "updated"  # the file that is as old as the lists


class MirrorFailed(GridvisorError):
    """The package mirror does not answer, or not with what it has promised."""


class Resolver:
    """apt with lists of the baseline's suite, and of the suites and folders of a candidate. Needs no root.

    All of it is below `root`, which belongs to this set of sources and may be removed at any time.
    """

    def __init__(self, cache: Path, candidate: Candidate, *, suite: str, mirror: Mirror, target: Target) -> None:
        self._candidate = candidate
        of_mirror = (one.suite for one in candidate.packages if one.suite and not one.repository)
        self._suites = tuple(dict.fromkeys((suite, *of_mirror)))
        self._repositories = [one for one in candidate.packages if one.repository]
        self._mirror = mirror
        self._target = target
        self._local = {deb: deb_fields(deb, target=target) for deb in _debs(candidate)}
        self._root = cache.resolve() / "-".join((*self._suites, self._key()))

    def update(self, *, max_age_h: float = MAX_AGE_H) -> None:
        """Fetch the lists, unless those that are there are younger. Raises MirrorFailed."""
        stamp = self._root / STAMP
        if self._repositories:  # whoever builds packages wants those of this minute
            max_age_h = 0
        with locked(self._root / "lock"):
            if stamp.exists() and time.time() - stamp.stat().st_mtime < max_age_h * 3600:
                return
            self._lay_out()
            try:
                self._run("apt-get", "update", "-qq", timeout_s=UPDATE_TIMEOUT_S)
            except CommandFailed as error:
                raise MirrorFailed(error.message) from error
            stamp.touch()

    def resolve(self, status: str) -> RolePackages:
        """What becomes of a machine with that /var/lib/dpkg/status when it is given the candidate."""
        with locked(self._root / "lock"):
            write_whole(self._root / "status", status)
            wanted = self.wanted(status)
            asked = tuple(sorted(wanted))
            if not asked:
                return RolePackages()
            words = [wanted[name] for name in asked]
            tried = self._install("--simulate", words=words, check=False)
            if tried.status not in (0, _APT_SAYS_NO):  # killed, or not there: that is not what is asked
                raise CommandFailed(tried)
            if tried.status:
                said = (tried.stdout + tried.stderr).strip().splitlines()[-_LAST_LINES:]
                return RolePackages(asked, refused="\n".join(said))
            # Files that are there already would not be told of.
            nothing = ("-o", f"Dir::Cache::archives={self._root}/nothing")
            uris = self._install("-qq", "--print-uris", *nothing, words=words).stdout
            return RolePackages(asked, packages_of_uris(uris), tuple(sorted(_REMOVED.findall(tried.stdout))))

    def download(self, status: str) -> Path:
        """Fetch what `resolve` has told for that status; gives back the folder of the files. Raises MirrorFailed."""
        with locked(self._root / "lock"):
            write_whole(self._root / "status", status)
            wanted = self.wanted(status)
            try:
                self._install("-qq", "--download-only", words=list(wanted.values()), timeout_s=DOWNLOAD_TIMEOUT_S)
            except CommandFailed as error:
                raise MirrorFailed(error.message) from error
        return self._root / "archives"

    def wanted(self, status: str) -> dict[str, str]:
        """The installed packages that the candidate names, and each as apt is asked for it."""
        wanted = {}
        for name in installed(status):
            for source in self._candidate.packages:
                if not source.asks(name):
                    continue
                if source.folder is None:
                    version = source.versions.get(name)
                    # Another repository may have a suite of the same name as the mirror: its packages are pinned.
                    any_version = name if source.repository else f"{name}/{source.suite}"
                    wanted[name] = f"{name}={version}" if version else any_version
                elif version := self._local_version(source.folder, name):
                    wanted[name] = f"{name}={version}"
        return wanted

    def _local_version(self, folder: Path, name: str) -> str | None:
        for deb, fields in self._local.items():
            if deb.parent == folder and fields["Package"] == name:
                return fields["Version"]
        return None

    def _install(
        self, *options: str, words: Sequence[str], check: bool = True, timeout_s: float = QUERY_TIMEOUT_S
    ) -> Result:
        return self._run(
            *("apt-get", "install", "--yes", "--no-install-recommends", "--allow-downgrades", *options, *words),
            check=check,
            timeout_s=timeout_s,
        )

    def _run(self, *argv: str, timeout_s: float, check: bool = True) -> Result:
        # With setpriv(1) it ends when we are killed: run again at once, apt would meet its own lock.
        command = Command(("setpriv", "--pdeathsig", "TERM", "--", *argv), {"APT_CONFIG": str(self._root / "apt.conf")})
        return self._target.run(command, timeout_s=timeout_s, check=check)

    def _lay_out(self) -> None:
        for folder in ("lists/partial", "archives/partial", "nothing/partial", "local", *_EMPTY):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        # What is known of a suite already is asked for no more, and takes no room a second time: apt never changes a
        # list in its place.
        for suite in self._suites:
            for listed in (root_of(self._root.parent, self._mirror, suite) / "lists").glob("*_dists_*"):
                if not (mine := self._root / "lists" / listed.name).exists():
                    with suppress(FileNotFoundError):
                        os.link(listed, mine)
        for deb in self._local:
            copy = self._root / "local" / deb.name
            if not copy.exists():
                write_whole(copy, deb.read_bytes())
        write_index(self._root / "local", target=self._target)
        lines = [source_line(self._mirror, suite) for suite in self._suites]
        for number, source in enumerate(self._repositories):
            assert source.repository is not None
            key = self._root / f"etc/key-{number}{source.repository.key.suffix}"  # apt goes by the ending
            write_whole(key, source.repository.key.read_bytes())
            words = (f"[signed-by={key}]", source.repository.uri, source.suite, *source.repository.components)
            lines.append(f"deb {' '.join(map(str, words))}\n")
        lines.append(f"deb [trusted=yes] copy:{self._root}/local ./\n")
        write_whole(self._root / "etc/sources.list", "".join(lines))
        write_whole(self._root / "etc/preferences", preferences(self._candidate))
        (self._root / "status").touch()
        # May name a proxy with its password, hence the mode.
        write_whole(self._root / "apt.conf", configuration(self._mirror, self._root), mode=0o600)

    def _key(self) -> str:
        debs = [f"{fields['SHA256']}" for fields in self._local.values()]
        words = (self._mirror.uri, *self._suites, preferences(self._candidate), *sorted(debs))
        words += tuple(f"{one.repository} {one.suite}" for one in self._repositories)
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def preferences(candidate: Candidate) -> str:
    """The apt_preferences(5) with which what a package on trial needs comes from where it comes from itself.

    Packages that are installed and good enough stay: apt-get install touches only what it must.
    """
    suites = dict.fromkeys(one.suite for one in candidate.packages if one.suite and not one.repository)
    pins = [f"Package: *\nPin: release n={suite}\nPin-Priority: 990\n" for suite in suites]
    hosts = dict.fromkeys(urlsplit(one.repository.uri).hostname or "" for one in candidate.packages if one.repository)
    pins += [f'Package: *\nPin: origin "{host}"\nPin-Priority: 992\n' for host in hosts if host]
    # A file's repository has no site: this is what apt calls its origin.
    return "\n".join(('Package: *\nPin: origin ""\nPin-Priority: 995\n', *pins))


def installed(status: str) -> tuple[str, ...]:
    """Names of the packages that are installed, by the text of dpkg's status file."""
    names = []
    for stanza in status.split("\n\n"):
        if "\nStatus: install ok installed\n" in f"\n{stanza}\n":
            names.append(stanza.partition("Package: ")[2].partition("\n")[0])
    return tuple(names)


def _debs(candidate: Candidate) -> list[Path]:
    folders = [source.folder for source in candidate.packages if source.folder is not None]
    return [deb for folder in folders for deb in sorted(folder.glob("*.deb"))]
