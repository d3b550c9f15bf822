"""The tree that images with the same base begin with: made once, and kept as an archive."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from gridvisor.core.events import Bus
from gridvisor.core.files import locked, remove_left
from gridvisor.image.mmdebstrap import begin, keep_files, mmdebstrap, share_files, source_words, write_options
from gridvisor.image.recipe import Recipe, content_id
from gridvisor.image.store import ImageStore
from gridvisor.package.apt import Apt
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command
from gridvisor.run.target import Target

TIMEOUT_S = 3600
_KEPT_S = 86400  # another build may be about to read it


def base_tree(recipe: Recipe, *, store: ImageStore, apt: Apt, mirror: Mirror, target: Target, bus: Bus) -> Path | None:
    """The archive of the recipe's base as its suite has it now, made when it is not there; None for one without a base.

    Raises CommandFailed with the last lines of mmdebstrap.
    """
    if not recipe.base:
        return None
    base = Recipe(f"{recipe.suite}-base", recipe.suite, packages=recipe.base)
    archive = store.bases / f"{recipe.suite}-{content_id(base, apt.resolve(base.suite, base.packages))}.tar"
    store.bases.mkdir(parents=True, exist_ok=True)
    with locked(archive.with_suffix(".lock")):
        if not archive.exists():
            work = archive.with_suffix(".work")
            if work.exists():
                remove_left(work)
            work.mkdir()
            try:
                with bus.step("install base", where=base.name):
                    made = _made(base, mirror, folder=work, debs=store.debs, target=target)
                made.replace(archive)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            _remove_old(store.bases)
        os.utime(archive)
    return archive


def _remove_old(bases: Path) -> None:
    """Remove trees of packages that their suite has no more, and what builds left that were killed: all that is older
    than a build may take, or than those are who are about to read it."""
    for old in (*bases.glob("*.tar"), *bases.glob("*.work")):
        if time.time() - old.stat().st_mtime > _KEPT_S:
            if old.is_dir():
                remove_left(old)
            else:
                old.unlink()


def _made(base: Recipe, mirror: Mirror, *, folder: Path, debs: Path, target: Target) -> Path:
    archive, fetched, tree = folder / "tree.tar", folder / "debs", folder / "tree"
    fetched.mkdir()
    tree.mkdir()
    write_options(mirror, folder)
    argv = mmdebstrap(
        folder,
        # Lists stay: those who begin with this tree ask the mirror only whether there are newer ones.
        *("--variant=minbase", "--format=tar", "--skip=essential/unlink,download/empty,cleanup/apt/lists"),
        f"--include={','.join(base.packages)}",
        *begin("essential", debs),
        keep_files(fetched),
        *(base.suite, str(archive), *source_words(base, mirror)),
    )
    target.run(Command(argv, {"TMPDIR": str(tree)}), timeout_s=TIMEOUT_S)
    share_files(fetched, debs)
    return archive
