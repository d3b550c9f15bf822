"""The id of an image follows what goes into it, and nothing else."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from gridvisor.image.recipe import Recipe, content_id, debian_13, tree_entries, write_tree_tar
from gridvisor.package.apt import PackageVersion

BASH = PackageVersion("bash", "5.2-1", "amd64", "0" * 64)
SED = PackageVersion("sed", "4.9-2", "amd64", "1" * 64)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/motd").write_text("hello\n")
    (tree / "etc/mtab").symlink_to("../proc/self/mounts")
    return Recipe("small", "trixie", packages=("bash",), trees=(tree,), steps=("true\n",))


def test_the_same_gives_the_same_id_whatever_the_order_of_packages(recipe: Recipe) -> None:
    assert content_id(recipe, (BASH, SED)) == content_id(recipe, (SED, BASH))


def test_the_id_does_not_depend_on_umask_and_times(recipe: Recipe) -> None:
    before = content_id(recipe, (BASH,))
    motd = recipe.trees[0] / "etc/motd"
    motd.write_text("hello\n")
    motd.chmod(0o600)
    (recipe.trees[0] / "etc").chmod(0o700)
    assert content_id(recipe, (BASH,)) == before


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"suite": "sid"},
        {"trees": ()},
        {"steps": ("false\n",)},
        {"steps": ("true\n", "true\n")},
        {"size_mib": 4096},
        {"packages": ("bash", "sed")},  # though it came with the others before
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_a_recipe_changes_the_id(recipe: Recipe, change: dict[str, object]) -> None:
    changed = replace(recipe, **change)  # type: ignore[arg-type]
    assert content_id(changed, (BASH,)) != content_id(recipe, (BASH,))


def test_another_version_changes_the_id(recipe: Recipe) -> None:
    assert content_id(recipe, (replace(BASH, version="5.2-2"),)) != content_id(recipe, (BASH,))


@pytest.mark.parametrize("what", ["content", "executable", "link", "more"])
def test_every_change_of_a_tree_changes_the_id(recipe: Recipe, what: str) -> None:
    before, etc = content_id(recipe, (BASH,)), recipe.trees[0] / "etc"
    match what:
        case "content":
            (etc / "motd").write_text("bye\n")
        case "executable":
            (etc / "motd").chmod(0o755)
        case "link":
            (etc / "mtab").unlink()
            (etc / "mtab").symlink_to("elsewhere")
        case "more":
            (etc / "empty").mkdir()
    assert content_id(recipe, (BASH,)) != before


def test_the_archive_of_a_tree_belongs_to_root_and_a_later_tree_wins(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/motd").write_text("mine\n")
    (tmp_path / "over/etc/motd").chmod(0o777)
    write_tree_tar((*recipe.trees, tmp_path / "over"), tmp_path / "tree.tar")
    with tarfile.open(tmp_path / "tree.tar") as archive:
        members = {member.name: member for member in archive}
        motd = archive.extractfile("etc/motd")
        assert motd is not None
        assert motd.read() == b"mine\n"
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert (members["etc"].mode, members["etc/motd"].mode) == (0o755, 0o755)
    assert members["etc/mtab"].linkname == "../proc/self/mounts"


def test_the_base_ships_its_tree_and_its_step() -> None:
    base = debian_13()
    names = {entry.name for entry in tree_entries(base.trees)}
    assert "etc/systemd/system/systemd-udev-trigger.service.d/gridvisor.conf" in names
    assert "ssh_host_" in base.steps[0]
