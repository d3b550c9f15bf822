"""The words of mmdebstrap(1) that all builds have in common."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.image.recipe import Recipe
from gridvisor.package.apt import source_line
from gridvisor.package.mirror import Mirror

ARCHIVES = "/var/cache/apt/archives"
OPTIONS = "mirror.conf"  # the file of `write_options` in a build's own folder


def write_options(mirror: Mirror, folder: Path) -> None:
    """Write what apt has to know of the mirror into `folder`, for us alone: it may name a proxy with its password."""
    write_whole(folder / OPTIONS, "".join(f"{option};\n" for option in mirror.apt_options), mode=0o600)


def mmdebstrap(folder: Path, *words: str) -> tuple[str, ...]:
    """A command of mmdebstrap that ends, with all that it started, when we are killed (setpriv(1)).

    In `folder` are the options of the mirror.

    What it mounts in its tree, such as /proc and /sys, is mounted for it alone (unshare(1)): whoever removes what a
    killed build has left, while that still ends, does not get into this machine's.
    """
    alone = ("setpriv", "--pdeathsig", "TERM", "--", "unshare", "--mount", "--")
    return (*alone, "mmdebstrap", "--mode=root", f"--aptopt={folder / OPTIONS}", *words)


def begin(hook: str, debs: Path) -> tuple[str, ...]:
    """What comes before packages: their files from `debs`; and, at that hook, the machine's name.

    Some packages ask for this machine's whole name while they are installed, and fail when nobody knows it
    (nordugrid-arc-arex 7.0, for its test certificates). The guest's own /etc/hosts comes with its identity.
    """
    return (
        f'--setup-hook=mkdir -p "$1{ARCHIVES}"',
        f'--setup-hook=find {shlex.quote(str(debs))} -maxdepth 1 -name "*.deb" -exec cp -t "$1{ARCHIVES}" {{}} +',
        f'--{hook}-hook=echo "127.0.0.1 localhost $(hostname).localdomain $(hostname)" >"$1/etc/hosts"',
    )


def keep_files(fetched: Path) -> str:
    """The hook after all packages: their files go to the folder `fetched`.

    Not by mmdebstrap's own hook sync-out, which sends them in pieces of 4 KiB through two processes, as sync-in does:
    of a build of 23 s both took 3 s, for 157 MiB. With 1.3.5 it once ended by SIGPIPE, with no word why.
    """
    move = f"mv -t {shlex.quote(str(fetched))} {{}} +"
    return f'--customize-hook=find "$1{ARCHIVES}" -maxdepth 1 -name "*.deb" -exec {move}'


def source_words(recipe: Recipe, mirror: Mirror) -> tuple[str, ...]:
    """The sources of a recipe's packages, as lines of sources.list(5)."""
    mine = (f"deb [trusted=yes] copy:{recipe.repository} ./",) if recipe.repository else ()
    return (source_line(mirror, recipe.suite).strip(), *mine)


def share_files(fetched: Path, debs: Path) -> None:
    """Move package files into the cache, one by one: another build that reads it sees whole files only."""
    for deb in fetched.glob("*.deb"):
        deb.replace(debs / deb.name)
        os.utime(debs / deb.name)
    shutil.rmtree(fetched)
