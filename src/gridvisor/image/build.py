"""From a recipe to an image: resolve, look in the store, and only when it is not there, build.

mmdebstrap(1) makes the tree and mke2fs(8) copies it into a file, so the host's kernel mounts no filesystem of a guest.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gridvisor.core.errors import GridvisorError, Refused, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.files import locked
from gridvisor.core.places import Places
from gridvisor.core.units import format_size
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.image.base_tree import base_tree
from gridvisor.image.inspect import has_init, network_style
from gridvisor.image.mmdebstrap import begin, keep_files, mmdebstrap, share_files, source_words, write_options
from gridvisor.image.recipe import Recipe, content_id, recipe_id, write_tree_tar
from gridvisor.image.store import Image, ImageStore
from gridvisor.package.apt import Apt, PackageVersion, packages_in
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command, CommandFailed
from gridvisor.run.target import Target

BUILD_TIMEOUT_S = 3600
MKE2FS_TIMEOUT_S = 900
# Tree and filesystem lie side by side for a moment, with packages and apt's lists: 0.7 GiB for the Debian base.
BUILD_NEEDS_BYTES = 1 << 30

_INSTALLED = "/var/lib/gridvisor-installed"
_FORMAT = "'${Package} ${Version}\\n'"


def build_image(
    recipe: Recipe, *, places: Places, mirror: Mirror, target: Target, bus: Bus, refresh: bool = False
) -> Image:
    """The image of `recipe` with the packages that `mirror` offers, from the store when it is there.

    `refresh` asks the mirror anew which versions it has, instead of believing lists of the last hours.
    `target` must be this machine. Builds of one id wait for one another, others run side by side.
    Raises Refused when we are not root or the disk is full, CommandFailed with the last lines of a step that failed.
    """
    store, apt = ImageStore(places), Apt(places, mirror, target=target)
    if refresh:
        apt.update(recipe.suite, force=True)
    resolved = apt.resolve(recipe.suite, recipe.packages)
    if image := store.get(content_id(recipe, resolved)):
        return image
    if os.geteuid() != 0:
        raise Refused("An image is built by root: its files belong to many users.", hint="sudo gridvisor image build")
    with bus.step(f"build image {recipe.name}"):
        try:
            return _build(recipe, resolved, store=store, apt=apt, mirror=mirror, target=target, bus=bus)
        except _Moved:
            bus.note("the mirror has newer packages than its lists of the last hours said; asking it again")
        apt.update(recipe.suite, force=True)
        resolved = apt.resolve(recipe.suite, recipe.packages)
        return _build(recipe, resolved, store=store, apt=apt, mirror=mirror, target=target, bus=bus)


class _Moved(ToolOutput):
    """What was installed is not what was resolved: the mirror changed in between."""


def _build(
    recipe: Recipe,
    resolved: Sequence[PackageVersion],
    *,
    store: ImageStore,
    apt: Apt,
    mirror: Mirror,
    target: Target,
    bus: Bus,
) -> Image:
    image_id = content_id(recipe, resolved)
    with _full_disk_explained(store), locked(store.lock_path(image_id)):
        if image := store.get(image_id):  # somebody else built it while we waited for the lock
            return image
        store.clear_dead_builds(image_id)
        store.debs.mkdir(parents=True, exist_ok=True)
        _require_space(store)
        folder = store.new_build_folder(image_id)
        try:
            base = base_tree(recipe, store=store, apt=apt, mirror=mirror, target=target, bus=bus)
            with bus.step("install packages", where=recipe.name):
                installed = _install(recipe, folder, base=base, store=store, mirror=mirror, target=target)
            if recipe.repository is None:
                _require_same(installed, resolved)
            else:
                resolved = _with_those_of(recipe.repository, installed, resolved)
            with bus.step("make filesystem", where=recipe.name):
                disk = _make_filesystem(recipe, folder, target=target)
            seen = disk.stat()
            image = Image(
                id=image_id,
                name=recipe.name,
                suite=recipe.suite,
                path=store.disk_of(image_id),
                size_bytes=seen.st_size,
                used_bytes=seen.st_blocks * 512,
                packages=tuple(resolved),
                built_at=time.time(),
                network=_network_style(disk, target=target),
                has_init=has_init(disk, target=target),
                recipe=recipe_id(recipe),
            )
            return store.publish(folder, image)
        finally:
            # Gone already when it was published.
            shutil.rmtree(folder, ignore_errors=True)


def _install(
    recipe: Recipe, folder: Path, *, base: Path | None, store: ImageStore, mirror: Mirror, target: Target
) -> set[tuple[str, str]]:
    """Names and versions of what mmdebstrap and the steps left in `folder`/tree."""
    tar = folder / "tree.tar"
    write_tree_tar(recipe.trees, tar)
    fetched = folder / "debs"
    fetched.mkdir()
    write_options(mirror, folder)
    argv = build_argv(recipe, mirror, folder=folder, debs=store.debs, base=base)
    target.run(Command(argv, {"TMPDIR": str(folder)}), timeout_s=BUILD_TIMEOUT_S)
    share_files(fetched, store.debs)
    tar.unlink()
    listed = folder / "tree" / _INSTALLED.lstrip("/")
    installed = {(words[0], words[1]) for line in listed.read_text().splitlines() if len(words := line.split()) == 2}
    listed.unlink()
    return installed


def _with_those_of(
    repository: Path, installed: set[tuple[str, str]], resolved: Sequence[PackageVersion]
) -> tuple[PackageVersion, ...]:
    """What is installed, where packages of the repository have taken the place of the suite's."""
    known = {(one.name, one.version): one for one in (*resolved, *packages_in(repository))}
    if strange := installed - known.keys():
        _require_same(strange, ())
    return tuple(known[one] for one in sorted(installed))


def build_argv(
    recipe: Recipe, mirror: Mirror, *, folder: Path, debs: Path, base: Path | None = None
) -> tuple[str, ...]:
    """The words that make `folder`/tree of `recipe`, taking package files from `debs` and leaving all in `folder`/debs.

    The tree begins with the archive `base`, if there is one.
    """
    return mmdebstrap(
        folder,
        "--format=directory",
        *(_from_nothing(recipe, debs) if base is None else _on_top_of(base, recipe, debs)),
        # Before the steps, which may remove packages again.
        f'--customize-hook=chroot "$1" dpkg-query -W --showformat={_FORMAT} >"$1{_INSTALLED}"',
        keep_files(folder / "debs"),
        f"--customize-hook=tar-in {shlex.quote(str(folder / 'tree.tar'))} /",
        *(f'--customize-hook=chroot "$1" /bin/sh -euc {shlex.quote(step)}' for step in recipe.steps),
        # Lent to the chroot from this machine, and nothing for guests: the proxy may have a password.
        '--customize-hook=cd "$1/etc" && rm -f apt/apt.conf.d/99mmdebstrap resolv.conf hostname hosts',
        *(_NO_REPOSITORY if recipe.repository else ()),
        *(recipe.suite, str(folder / "tree"), *source_words(recipe, mirror)),
    )


def _from_nothing(recipe: Recipe, debs: Path) -> tuple[str, ...]:
    # The files would be deleted once they are unpacked, and the folder that they are fetched to must not be empty.
    skipped = "--skip=essential/unlink,download/empty"
    return ("--variant=minbase", skipped, f"--include={','.join(recipe.packages)}", *begin("essential", debs))


def _on_top_of(base: Path, recipe: Recipe, debs: Path) -> tuple[str, ...]:
    """apt is that of this machine, as in mmdebstrap itself: it reads a repository that lies outside of the chroot."""
    apt = (
        "DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8 "
        'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --no-install-recommends -o DPkg::Chroot-Directory="$1"'
    )
    return (
        "--variant=custom",
        "--skip=download/empty,check/empty",
        f'--setup-hook=tar -C "$1" {_NOT_OF_BASE} -xf {shlex.quote(str(base))}',
        *begin("setup", debs),
        # What the repository has of the base is taken too.
        *((f"--customize-hook={apt} dist-upgrade",) if recipe.repository else ()),
        f"--customize-hook={apt} install {shlex.join(recipe.packages)}",
    )


# mmdebstrap has written them for this recipe by then: its sources, with the repository among them, and its proxy.
_NOT_OF_BASE = "--exclude=./etc/apt/sources.list --exclude=./etc/apt/apt.conf.d/99mmdebstrap"
# A folder of this machine is nothing that a guest could ask.
_NO_REPOSITORY = ('--customize-hook=find "$1/etc/apt" -name "*sources.list*" -type f -exec sed -i "/ copy:/d" {} +',)


def _require_same(installed: set[tuple[str, str]], resolved: Sequence[PackageVersion]) -> None:
    expected = {(one.name, one.version) for one in resolved}
    if installed != expected:
        differing = ", ".join(sorted(f"{name} {version}" for name, version in installed ^ expected)[:8])
        raise _Moved(
            f"Other packages were installed than were resolved: {differing}.", hint="gridvisor image build --refresh"
        )


def _make_filesystem(recipe: Recipe, folder: Path, *, target: Target) -> Path:
    disk, tree = folder / "root.img", folder / "tree"
    words = ("mke2fs", "-q", "-t", "ext4", "-L", "root", "-m", "1", "-d", str(tree), str(disk), f"{recipe.size_mib}M")
    try:
        target.run(Command(words), timeout_s=MKE2FS_TIMEOUT_S)
    except CommandFailed as error:
        if "Could not allocate" in error.result.stderr and not _disk_is_full(folder):
            raise Refused(
                f"What goes into '{recipe.name}' does not fit in {recipe.size_mib} MiB.", hint="give it a larger size"
            ) from error
        raise
    shutil.rmtree(tree)
    return disk


def _network_style(disk: Path, *, target: Target) -> NetworkStyle | None:
    try:
        return network_style(disk, target=target)
    except Refused:
        return None  # a machine without network is a sensible image too


def _require_space(store: ImageStore) -> None:
    free_bytes = shutil.disk_usage(store.root).free
    if free_bytes < BUILD_NEEDS_BYTES:
        raise Refused(
            f"Building an image needs {format_size(BUILD_NEEDS_BYTES)} below '{store.root}'; "
            f"{format_size(free_bytes)} are free.",
            hint="gridvisor image gc",
        )


def _disk_is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < 1 << 24


@contextmanager
def _full_disk_explained(store: ImageStore) -> Iterator[None]:
    """Turns the many ways in which tools say ENOSPC into one sentence."""
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, GridvisorError) as error:
        if says_full(error):
            raise Refused(
                f"The disk below '{store.root}' became full while building; nothing half made was kept.",
                hint="gridvisor image gc, gridvisor volume list",
            ) from error
        raise


def says_full(error: BaseException) -> bool:
    """True when `error` comes from a disk (or a quota) that is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, CommandFailed):
        text = error.result.stderr
        return "No space left on device" in text or "Disk quota exceeded" in text or "enough free space" in text
    return isinstance(error, GridvisorError) and error.__cause__ is not None and says_full(error.__cause__)
