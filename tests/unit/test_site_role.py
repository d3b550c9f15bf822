"""Roles: what is shipped, and what an administrator's folder beside the site file changes of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from gridvisor.core.errors import InputError
from gridvisor.site.check import SHIPPED, load_site
from gridvisor.site.role import find_roles, load_role


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, with these files in it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_shipped_roles_are_those_of_a_grid_site() -> None:
    roles = find_roles((SHIPPED,))
    assert sorted(roles) == ["ce", "mon", "se", "ui", "wn"]
    for role in roles.values():
        assert role.summary
        assert role.packages
        assert set(role.needs) <= set(roles)
        assert set(role.gateway_of) <= set(role.networks)


@pytest.mark.parametrize("name", ["ce", "mon", "se", "ui", "wn"])
def test_private_files_and_reloads_are_of_files_that_are_there(name: str) -> None:
    role = find_roles((SHIPPED,))[name]
    [tree] = role.trees
    there = {f"/{path.relative_to(tree).as_posix()}".removesuffix(".j2") for path in tree.rglob("*")}
    assert set(role.private) <= there
    made = ("/etc/grid-security/",)  # by the authority, not from the tree
    for prefix in (one for reload in role.reload for one in reload.files if not one.startswith(made)):
        assert any(path.startswith(prefix.rstrip("/")) for path in there), prefix


def test_a_later_folder_replaces_the_keys_that_it_names_and_no_others(tmp_path: Path) -> None:
    write(tmp_path / "ui", {"role.yaml": "memory: 512MiB\nservices: []\n"})
    [shipped, own] = [find_roles(roots)["ui"] for roots in ((SHIPPED,), (SHIPPED, tmp_path))]
    assert (own.memory_mib, own.services) == (512, ())
    assert shipped.services
    assert (own.packages, own.summary, own.networks) == (shipped.packages, shipped.summary, shipped.networks)


def test_a_later_folder_adds_its_tree_and_its_preparation(tmp_path: Path) -> None:
    write(tmp_path / "ce", {"tree/etc/motd": "hello\n", "prepare.sh": "true\n"})
    role = find_roles((SHIPPED, tmp_path))["ce"]
    assert role.trees == (SHIPPED / "ce" / "tree", tmp_path / "ce" / "tree")
    assert role.prepare == (SHIPPED / "ce" / "prepare.sh", tmp_path / "ce" / "prepare.sh")
    assert role.memory_mib == find_roles((SHIPPED,))["ce"].memory_mib


def test_a_folder_with_nothing_but_a_preparation_counts(tmp_path: Path) -> None:
    (tmp_path / "ce").mkdir()
    (tmp_path / "ce/prepare.sh").write_text("true\n")
    assert find_roles((SHIPPED, tmp_path))["ce"].prepare == (SHIPPED / "ce/prepare.sh", tmp_path / "ce/prepare.sh")


def test_a_new_role_needs_little(tmp_path: Path) -> None:
    write(tmp_path / "empty", {"role.yaml": ""})
    write(tmp_path / "tree-only", {"tree/etc/motd": "hello\n"})
    write(tmp_path / "notes", {"README": "not a role\n"})
    roles = find_roles((tmp_path,))
    assert sorted(roles) == ["empty", "tree-only"]
    for role in roles.values():
        assert (role.networks, role.packages, role.size_mib, role.swap_mib) == (("site",), (), 2048, None)


def test_a_folder_that_is_not_there_has_no_roles(tmp_path: Path) -> None:
    assert find_roles((tmp_path / "none",)) == {}


def test_the_folder_beside_the_site_file_counts(tmp_path: Path) -> None:
    write(tmp_path / "roles" / "voms", {"role.yaml": "summary: VOMS\nmemory: 96MiB\n"})
    write(tmp_path / "roles" / "ui", {"role.yaml": "memory: 300MiB\n"})
    write(tmp_path, {"site.yaml": "site: a\nmachines:\n  ui:\n  voms: {memory: 100MiB}\n"})
    _, [ui, voms] = load_site(tmp_path / "site.yaml")
    assert (ui.memory_mib, voms.memory_mib, voms.role.summary) == (300, 100, "VOMS")
    shutil.rmtree(tmp_path / "roles")
    with pytest.raises(InputError, match="'voms' is no role's name"):
        load_site(tmp_path / "site.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memroy: 1GiB\n", ["1:1: unknown key 'memroy'"]),
        ("memory: 1\nnetworks: []\n", ["1:9: 1 has no unit", "2:11: 'networks' is empty"]),
        ("volumes: {data: {size: 1GiB}}\n", ["1:17: 'mount' is missing"]),
        ("volumes: {data: {size: 1GiB, mount: srv}}\n", ["1:37: 'srv' is not a folder such as '/srv/data'"]),
        ("ready:\n  - what: x\n    comand: y\n", ["2:5: 'command' is missing", "3:5: unknown key 'comand'"]),
        ("services: ssh\n", ["1:11: a list is wanted, not 'ssh'"]),
        ("- a\n", ["1:1: a mapping is wanted, not a list"]),
        ("summary: 'x\n", ["2:1: not YAML"]),
    ],
)
def test_what_is_wrong_in_a_role_is_told_at_its_place(tmp_path: Path, text: str, said: list[str]) -> None:
    folder = write(tmp_path / "roles" / "mine", {"role.yaml": text})
    write(tmp_path, {"site.yaml": "site: a\nmachines: {ui: }\n"})
    with pytest.raises(InputError) as caught:
        load_site(tmp_path / "site.yaml")
    told = [f"{one.span}: {one.text}" for one in caught.value.problems]
    assert len(told) == len(said)
    for one, wanted in zip(told, said, strict=True):
        assert one.startswith(f"{folder / 'role.yaml'}:{wanted}")


def test_a_role_of_no_folder_is_one_of_defaults() -> None:
    assert load_role("bare", ()).memory_mib == 128
