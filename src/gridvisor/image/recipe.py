"""What an image is made from, and the id that follows from it."""

from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.package.apt import PackageVersion

# Changed whenever the same recipe and packages would give another image than before.
FORMAT = 3
SHOWN_DIGITS = 16

_DATA = Path(__file__).parent / "base"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Debian system: `packages` on top of a minimal `suite`, then the files of `trees`, then `steps`.

    Steps are shell scripts (`/bin/sh -eu`) run as root in the chroot, in their order. A tree has its files as they
    will lie in the guest: all owned by root, 0755 where git keeps an executable bit or it is a folder, else 0644;
    a later tree wins over an earlier one.

    `repository` is a folder of package files with an index, called by what it holds: those of them that are newer than
    the suite's are taken.

    `base` names those of `packages` that are installed first: what comes of them is kept, and all images of the same
    base begin with it.
    """

    name: str
    suite: str
    packages: tuple[str, ...] = field(kw_only=True)
    trees: tuple[Path, ...] = field(default=(), kw_only=True)
    steps: tuple[str, ...] = field(default=(), kw_only=True)
    size_mib: int = field(default=2048, kw_only=True)
    repository: Path | None = field(default=None, kw_only=True)
    base: tuple[str, ...] = field(default=(), kw_only=True)


def debian_13() -> Recipe:
    """The base that gridvisor ships: a whole Debian with systemd and sshd, which boots in seconds."""
    packages = (
        *("systemd-sysv", "udev", "dbus", "login", "passwd", "kmod", "e2fsprogs", "procps"),
        *("openssh-server", "ca-certificates", "netbase", "iproute2", "iputils-ping"),
    )
    return Recipe(
        "debian-13",
        "trixie",
        packages=packages,
        base=packages,
        trees=(_DATA / "tree",),
        steps=((_DATA / "trim.sh").read_text(),),
    )


def extended(
    name: str,
    suite: str,
    *,
    packages: Sequence[str],
    steps: Sequence[str],
    size_mib: int,
    repository: Path | None = None,
) -> Recipe:
    """Our base, on that `suite`, with packages and steps of others after its own."""
    base = debian_13()
    return Recipe(
        name,
        suite,
        packages=(*base.packages, *(package for package in packages if package not in base.packages)),
        trees=base.trees,
        steps=(*base.steps, *steps),
        size_mib=size_mib,
        repository=repository,
        base=base.base,
    )


def image_name(suite: str, role: str) -> str:
    """What the image of a role's machines is called, such as 'trixie-ce'."""
    return f"{suite}-{role}"


def recipe_id(recipe: Recipe) -> str:
    """Hex digits that are the same if and only if the recipe is, whatever versions a mirror has at the time."""
    return _id({**_what(recipe), "packages": sorted(recipe.packages)})


def content_id(recipe: Recipe, resolved: Sequence[PackageVersion]) -> str:
    """Hex digits that are the same if and only if everything that goes into the image is the same.

    That is also which packages were asked for and did not only come with others: apt keeps it. So images of two recipes
    are never the same.
    """
    packages = sorted(f"{one.name}={one.version}:{one.architecture}" for one in resolved)
    return _id({**_what(recipe), "packages": packages, "asked": sorted(recipe.packages)})


def _what(recipe: Recipe) -> dict[str, object]:
    return {
        "format": FORMAT,
        "name": recipe.name,
        "suite": recipe.suite,
        "files": [_described(entry) for entry in tree_entries(recipe.trees)],
        "steps": recipe.steps,
        "size_mib": recipe.size_mib,
        # Under "repository" there are images in caches that were built without anything of it.
        **({"release": recipe.repository.name} if recipe.repository else {}),
    }


def _id(what: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:SHOWN_DIGITS]


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file, folder or symbolic link of a tree; `name` is its path in the guest, without the first slash."""

    name: str
    path: Path
    mode: int
    link: str | None = None


def tree_entries(trees: Sequence[Path]) -> Iterator[TreeEntry]:
    """All that is in `trees`, sorted, modes made independent of the umask that they were checked out with."""
    found = {str(path.relative_to(tree)): path for tree in trees for path in tree.rglob("*")}
    for name, path in sorted(found.items()):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield TreeEntry(name, path, 0o777, str(path.readlink()))
        elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            yield TreeEntry(name, path, 0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644)
        else:
            raise Refused(f"'{path}' is neither a file, a folder nor a symbolic link.")


def write_tree_tar(trees: Sequence[Path], tar: Path) -> None:
    """Write the files of `trees` to the archive `tar`, owned by root. Times are left out: they are not content."""
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry in tree_entries(trees):
            info = archive.gettarinfo(entry.path, entry.name)
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = "root"
            info.mode = entry.mode
            if info.isreg():
                with entry.path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)


def _described(entry: TreeEntry) -> list[str]:
    if entry.link is not None:
        content = f"-> {entry.link}"
    elif entry.path.is_dir():
        content = "/"
    else:
        content = hashlib.sha256(entry.path.read_bytes()).hexdigest()
    return [entry.name, f"{entry.mode:o}", content]
