"""Images as the stories want them: found in the store, or built when it is one that we know how to build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gridvisor.app.host import Host
from gridvisor.core.errors import Refused
from gridvisor.image.build import build_image
from gridvisor.image.recipe import Recipe, debian_13
from gridvisor.image.store import Image
from gridvisor.package.mirror import mirror_of_this_machine

BASE = "debian-13"


def base_image(host: Host, name: str | None) -> Image:
    """The newest image called `name`; without a name our Debian base, built when the store has none.

    An image that is there is taken as it is, without asking the mirror. Raises Refused for a name nobody knows.
    """
    if name is None and not any(image.name == BASE for image in host.images.list()):
        return build(host, debian_13())
    return host.images.find(name or BASE)


def build(host: Host, recipe: Recipe, *, refresh: bool = False) -> Image:
    """The image of `recipe`: a hit in the cache, or built now; `refresh` asks the mirror for newer packages."""
    return build_image(
        recipe,
        places=host.places,
        mirror=mirror_of_this_machine(host.target, uri=host.mirror_uri),
        target=host.target,
        bus=host.bus,
        refresh=refresh,
    )


def own_recipe(
    name: str,
    *,
    suite: str | None,
    packages: Sequence[str],
    tree: Path | None,
    steps: Sequence[Path],
    size_mib: int | None,
) -> Recipe:
    """Our base with what the user adds to it. The base itself when nothing is added.

    Raises Refused when something is added under the base's own name, or a file is not there.
    """
    base = debian_13()
    added = bool(packages or tree or steps or size_mib or (suite and suite != base.suite))
    if added and name == BASE:
        raise Refused(
            f"An image that is more than '{BASE}' needs a name of its own.", hint="gridvisor image build NAME …"
        )
    if not added and name != BASE:
        raise Refused(
            f"'{name}' would be '{BASE}' under another name.", hint="add --include, --tree, --step or --suite"
        )
    if tree is not None and not tree.is_dir():
        raise Refused(f"'{tree}' is not a folder.")
    try:
        scripts = [step.read_text() for step in steps]
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"A step cannot be read: {error}.") from error
    return replace(
        base,
        name=name,
        suite=suite or base.suite,
        packages=(*base.packages, *packages),
        trees=(*base.trees, *([tree] if tree else [])),
        steps=(*base.steps, *scripts),
        size_mib=size_mib or base.size_mib,
    )
