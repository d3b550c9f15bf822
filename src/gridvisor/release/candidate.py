"""The candidate's file. This table of keys drives its reading."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from gridvisor.core.errors import InputError, Problem
from gridvisor.site.document import Document, read_document
from gridvisor.site.model import Strict, Suite, spelled
from gridvisor.site.role import find_roles

CandidateName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+-]*$", max_length=60),
    spelled("a name of small letters, digits, . + and - that begins with a letter or a digit"),
]
Glob = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9*?][a-z0-9+.*?-]*$"),
    spelled("a package's name in small letters, in which * and ? may stand for others"),
]
Package = Annotated[  # deb-control(5), Package
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$"),
    spelled("a package's name such as 'xrootd-server', in small letters"),
]
Version = Annotated[  # deb-version(7)
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+:~-]*$"), spelled("a version such as '0.5.18-1'")
]
Uri = Annotated[  # of sources.list(5)
    str,
    StringConstraints(pattern=r"^(https?|file|copy)://?[^\s\[\]]+$"),
    spelled("an address such as 'https://repo.example.org/debian'"),
]
Component = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9./_+-]*$"), spelled("a component such as 'main'")
]
DEFAULT_ORDER = ("se", "mon", "ce", "wn", "ui")


class PackageSource(Strict):
    """Where packages of the candidate come from: another suite of the mirror, a repository, or a folder of files."""

    suite: Suite | None = Field(None, description="A suite of the mirror, or of the repository.", examples=["sid"])
    repository: Uri | None = Field(
        None, description="A repository of its own: its URI.", examples=["https://repo.example.org/debian"]
    )
    components: list[Component] = Field(["main"], min_length=1, description="Components of that repository.")
    key: str | None = Field(None, description="The file of the public key that signs it: .asc, .gpg or .pgp.")
    folder: str | None = Field(None, description="A folder of .deb files.")
    match: list[Glob] = Field(
        [],
        min_length=1,
        description="Names of the packages that are upgraded where they are installed; * and ?. When not given: of a "
        "folder all, of a suite none but `versions`.",
    )
    versions: dict[Package, Version] = Field({}, description="Packages of the suite at exactly these versions.")

    @model_validator(mode="after")
    def _one_place(self) -> PackageSource:
        if (self.suite is None) == (self.folder is None):
            raise ValueError("packages come from a 'suite' or from a 'folder': name one of them")
        if self.repository is not None and (self.suite is None or self.key is None):
            raise ValueError("a 'repository' has a 'suite', and a 'key' that signs it: name both")
        if self.repository is None and (self.key is not None or "components" in self.model_fields_set):
            raise ValueError("'key' and 'components' are those of a 'repository': name it")
        if self.suite is not None and not self.versions and not self.match:
            raise ValueError("of a suite some packages are on trial: name them with 'match' or 'versions'")
        if self.folder is not None and self.versions:
            raise ValueError("'versions' go with a 'suite'; a folder has the versions that it has")
        return self


class CandidateFile(Strict):
    """A candidate: what production may get next."""

    candidate: CandidateName = Field(description="Its name.", examples=["sid-middleware"])
    summary: str = Field("", description="One line: what it brings.")
    packages: list[PackageSource] = Field([], description="Where its packages come from, and which they are.")
    roles: str | None = Field(
        None, description="A folder of changed role files, as beside a site file. Must be given without `packages`."
    )
    order: list[str] = Field(
        list(DEFAULT_ORDER), description="In which machines are upgraded: roles or machines; others come last."
    )

    @model_validator(mode="after")
    def _something(self) -> CandidateFile:
        if not self.packages and self.roles is None:
            raise ValueError("nothing is on trial: name 'packages' or 'roles'")
        return self


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that is not the mirror; `key` is the file of the public key that signs it."""

    uri: str
    components: tuple[str, ...]
    key: Path


@dataclass(frozen=True, slots=True)
class Source:
    """Packages of `suite`, of the mirror or of `repository`, or those of `folder`, whose names are like `match`;
    `versions` are asked for exactly."""

    suite: str | None
    folder: Path | None
    match: tuple[str, ...]
    versions: dict[str, str]
    repository: Repository | None = None

    def asks(self, installed: str) -> bool:
        """True for an installed package that is to be that of this source."""
        return installed in self.versions or any(fnmatchcase(installed, glob) for glob in self.match)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as its `file` says, with whole paths."""

    file: Path
    name: str
    summary: str
    packages: tuple[Source, ...]
    roles: Path | None
    order: tuple[str, ...]

    @property
    def changed_roles(self) -> tuple[str, ...]:
        """The roles of which it has files."""
        found = (
            [] if self.roles is None else [one for one in self.roles.iterdir() if one.is_dir() and any(one.iterdir())]
        )
        return tuple(sorted(one.name for one in found))

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that belong to it."""
        found = [source.folder for source in self.packages if source.folder is not None]
        return tuple(found + ([self.roles] if self.roles is not None else []))


def read_candidate(file: Path) -> Candidate:
    """The candidate of that file. Raises InputError with all its problems, and those of its role files."""
    document = read_document(file, CandidateFile)
    value = document.value
    base = file.parent.resolve()
    problems = []
    for index, source in enumerate(value.packages):
        if source.folder is not None and not any((base / source.folder).glob("*.deb")):
            problems.append(_no_debs(document, index, base / source.folder))
        if source.key is not None and not (base / source.key).is_file():
            problems.append(document.problem(f"there is no file '{base / source.key}'", "packages", index, "key"))
    if value.roles is not None and not (base / value.roles).is_dir():
        problems.append(document.problem(f"there is no folder '{base / value.roles}'", "roles"))
    if problems:
        raise InputError(problems)
    roles = None if value.roles is None else base / value.roles
    if roles is not None:
        find_roles((roles,))
    return Candidate(
        file,
        value.candidate,
        value.summary,
        tuple(_source(one, base) for one in value.packages),
        roles,
        tuple(value.order),
    )


def _source(one: PackageSource, base: Path) -> Source:
    match = tuple(one.match) if one.folder is None or one.match else ("*",)
    folder = None if one.folder is None else base / one.folder
    repository = None
    if one.repository is not None and one.key is not None:
        repository = Repository(_fetched(one.repository.rstrip("/")), tuple(one.components), base / one.key)
    return Source(one.suite, folder, match, dict(one.versions), repository)


def _fetched(uri: str) -> str:
    """The URI by which apt fetches files also from a folder: by `file:` it takes them where they are."""
    return f"copy:{uri.removeprefix('file:')}" if uri.startswith("file:") else uri


def _no_debs(document: Document[CandidateFile], index: int, folder: Path) -> Problem:
    text = f"there are no .deb files in '{folder}'" if folder.is_dir() else f"there is no folder '{folder}'"
    return document.problem(text, "packages", index, "folder")
