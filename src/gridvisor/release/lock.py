"""A release: a candidate's packages, frozen. What is on trial is what production gets, to the byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gridvisor.package.apt import PackageVersion

LOCK = "lock.json"


@dataclass(frozen=True, slots=True)
class RolePackages:
    """What becomes of a machine of one role: `asked` are the installed packages that the candidate names, `install`
    those and what they need, `remove` what goes for it. When apt cannot do it, `refused` has its words."""

    asked: tuple[str, ...] = ()
    install: tuple[PackageVersion, ...] = ()
    remove: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """A candidate's packages by role. Their files are in `folder`, which is a repository as apt reads it (flat)."""

    candidate: str
    roles: Mapping[str, RolePackages]
    folder: Path

    @property
    def id(self) -> str:
        """Hex digits that are the same if and only if the packages are."""
        return release_id(self.candidate, self.roles)


def release_id(candidate: str, roles: Mapping[str, RolePackages]) -> str:
    """See Release.id."""
    what = {role: asdict(packages) for role, packages in sorted(roles.items())}
    return hashlib.sha256(json.dumps([candidate, what], sort_keys=True).encode()).hexdigest()[:16]


def file_name(package: PackageVersion) -> str:
    """What apt calls the package's file: an epoch's colon is no letter for a file's name."""
    return f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb"


def read_release(folder: Path) -> Release | None:
    """The release in that folder; None when there is none that is whole."""
    try:
        facts = json.loads((folder / LOCK).read_text())
        roles = {
            role: RolePackages(
                tuple(one["asked"]),
                tuple(PackageVersion(**package) for package in one["install"]),
                tuple(one["remove"]),
                one["refused"],
            )
            for role, one in facts["roles"].items()
        }
        return Release(facts["candidate"], roles, folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lock_text(candidate: str, roles: Mapping[str, RolePackages]) -> str:
    """The lock file of a release."""
    return json.dumps({"candidate": candidate, "roles": {role: asdict(one) for role, one in roles.items()}}, indent=1)
