"""From a candidate to its release: resolved, fetched, and kept in the cache by what it is."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from gridvisor.core.errors import ToolOutput
from gridvisor.core.files import locked, write_whole
from gridvisor.core.places import Places
from gridvisor.package.apt import PackageVersion
from gridvisor.package.mirror import Mirror
from gridvisor.release.candidate import Candidate
from gridvisor.release.lock import LOCK, Release, file_name, lock_text, read_release, release_id
from gridvisor.release.repository import write_index
from gridvisor.release.resolve import STAMP, Resolver
from gridvisor.run.target import Target

KEPT_DAYS = 30


def freeze(
    candidate: Candidate, statuses: Mapping[str, str], *, suite: str, places: Places, mirror: Mirror, target: Target
) -> Release:
    """The release of the candidate for machines whose /var/lib/dpkg/status is given by role, on a site of `suite`.

    It lies in the cache, whole; when it is there already, nothing is fetched. Raises MirrorFailed.
    """
    resolver = Resolver(places.cache / "apt", candidate, suite=suite, mirror=mirror, target=target)
    resolver.update()
    roles = {role: resolver.resolve(status) for role, status in statuses.items()}
    folder = places.cache / "releases" / release_id(candidate.name, roles)
    with locked(folder.with_suffix(".lock")):
        if found := read_release(folder):
            os.utime(folder / LOCK)
            return found
        work = folder.with_name(f".{folder.name}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for role, packages in roles.items():
            if packages.install:
                fetched = resolver.download(statuses[role])
                other = [one for one in packages.install if not _is_as_promised(fetched / file_name(one), one)]
                if other:  # apt goes by name and size, and takes a file that a repository has made anew for the old one
                    for one in other:
                        (fetched / file_name(one)).unlink(missing_ok=True)
                    resolver.download(statuses[role])
                for package in packages.install:
                    _link(fetched / file_name(package), package, work)
        write_index(work, target=target)
        write_whole(work / LOCK, lock_text(candidate.name, roles))
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    return Release(candidate.name, roles, folder)


def clear_old(places: Places) -> int:
    """Bytes that were freed by removing releases, and lists of candidates, that nobody has asked for in KEPT_DAYS."""
    releases = [(file, file.parent.with_suffix(".lock")) for file in (places.cache / "releases").glob(f"*/{LOCK}")]
    lists = [(file, file.with_name("lock")) for file in (places.cache / "apt").glob(f"*/{STAMP}")]
    freed_bytes = 0
    for stamp, lock in (*releases, *lists):
        if _is_old(stamp):
            with locked(lock):
                if _is_old(stamp):
                    freed_bytes += sum(one.lstat().st_blocks * 512 for one in stamp.parent.rglob("*") if one.is_file())
                    shutil.rmtree(stamp.parent)
    return freed_bytes


def _is_old(stamp: Path) -> bool:
    return time.time() - stamp.stat().st_mtime > KEPT_DAYS * 86400


def _is_as_promised(deb: Path, package: PackageVersion) -> bool:
    """Whether the file is there, and is what the repository's list says."""
    if not deb.exists():
        return False
    with deb.open("rb") as file:
        return package.sha256 in ("", hashlib.file_digest(file, "sha256").hexdigest())


def _link(deb: Path, package: PackageVersion, folder: Path) -> None:
    target = folder / deb.name
    if not _is_as_promised(deb, package):
        raise ToolOutput(f"apt has fetched no '{deb.name}' that is what its repository's list says.")
    if not target.exists():
        os.link(deb, target)
