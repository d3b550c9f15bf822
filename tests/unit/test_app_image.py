"""Images as the stories want them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.app import image as images
from gridvisor.app.host import Host
from gridvisor.app.image import BASE, base_image, images_in_use, own_recipe, remove_images
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.identity.network.style import NetworkStyle
from gridvisor.image.recipe import Recipe, debian_13
from gridvisor.image.store import Image
from gridvisor.storage.files import FilePool

NOTHING = {"suite": None, "packages": (), "tree": None, "steps": (), "size_mib": None}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(Places(tmp_path / "cache", tmp_path / "state"), Bus())


def put(host: Host, image_id: str, name: str = BASE, built_at: float = 1.0) -> Image:
    folder = host.images.new_build_folder(image_id)
    (folder / "root.img").write_bytes(b"x" * 4096)
    path = host.images.disk_of(image_id)
    image = Image(image_id, name, "trixie", path, 4096, 4096, (), built_at, NetworkStyle.NETWORKD, True)
    return host.images.publish(folder, image)


def test_the_base_is_built_only_when_there_is_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Recipe] = []

    def build(_: Host, recipe: Recipe) -> Image:
        built.append(recipe)
        return put(host, "aa11")

    monkeypatch.setattr(images, "build", build)
    first = base_image(host, None)
    assert built == [debian_13()]
    assert base_image(host, None) == first
    assert base_image(host, BASE) == first
    assert len(built) == 1


def test_an_image_by_another_name_is_never_built(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "build", None)
    put(host, "aa11", "mine")
    assert base_image(host, "mine").id == "aa11"
    with pytest.raises(Refused, match="nobody"):
        base_image(host, "nobody")


def test_a_recipe_of_ones_own_adds_to_the_base(tmp_path: Path) -> None:
    step = tmp_path / "step.sh"
    step.write_text("true\n")
    base = debian_13()
    recipe = own_recipe("se", suite="sid", packages=["xrootd"], tree=None, steps=[step], size_mib=4096)
    assert (recipe.name, recipe.suite, recipe.size_mib) == ("se", "sid", 4096)
    assert recipe.packages == (*base.packages, "xrootd")
    assert recipe.steps == (*base.steps, "true\n")
    assert own_recipe(BASE, **NOTHING) == base  # type: ignore[arg-type]


def test_files_of_ones_own_are_in_the_recipe(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    recipe = own_recipe("se", suite=None, packages=(), tree=tree, steps=(), size_mib=None)
    assert recipe.trees == (*debian_13().trees, tree)


@pytest.mark.parametrize(
    ("name", "added", "says"),
    [
        (BASE, {"packages": ["xrootd"]}, "needs a name of its own"),
        (BASE, {"size_mib": 4096}, "needs a name of its own"),
        ("se", {}, "under another name"),
        ("se", {"suite": "trixie"}, "under another name"),
        ("se", {"tree": Path("/none")}, "not a folder"),
        ("se", {"steps": [Path("/none")]}, "cannot be read"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(name: str, added: dict[str, object], says: str) -> None:
    with pytest.raises(Refused, match=says):
        own_recipe(name, **{**NOTHING, **added})  # type: ignore[arg-type]


def test_an_image_that_volumes_are_copies_of_stays(host: Host) -> None:
    used, free = put(host, "aa11"), put(host, "bb22", "mine")
    FilePool(host.places, "vg0").clone("vm1-disk", used.path)
    FilePool(host.places, "vg1").create("data", 100)
    assert images_in_use(host.places) == {"aa11"}
    with pytest.raises(Refused, match="copies of"):
        remove_images(host.images, host.places, [used.id])
    remove_images(host.images, host.places, ["mine"])
    assert host.images.list() == (used,)
    assert not free.path.exists()


def test_one_name_that_is_wrong_removes_none(host: Host) -> None:
    kept = put(host, "aa11")
    with pytest.raises(Refused):
        remove_images(host.images, host.places, ["aa11", "nobody"])
    assert host.images.list() == (kept,)
