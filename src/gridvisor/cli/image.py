"""`gridvisor image`: root filesystems, built once and cached."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gridvisor.cli.context import Output, open_host, places
from gridvisor.cli.table import columns
from gridvisor.core.errors import Refused
from gridvisor.core.units import counted, format_size, parse_size

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Build and keep images: guests' root file systems.",
    epilog="Example: gridvisor image build",
)

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="What to print.")]


def _names() -> list[str]:
    from gridvisor.image.store import ImageStore

    return sorted({image.name for image in ImageStore(places()).list()})


Name = Annotated[str, typer.Argument(help="The image's name or id.", autocompletion=_names)]


@app.command(epilog="Example: gridvisor image build site-se --include xrootd-server --tree se-files")
def build(
    name: Annotated[str, typer.Argument(help="The image's name; 'debian-13' is the base.")] = "debian-13",
    include: Annotated[
        list[str] | None, typer.Option(metavar="PACKAGE", help="A package to add; may be given again.")
    ] = None,
    tree: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Files to add, as they lie in the guest.")] = None,
    step: Annotated[
        list[Path] | None,
        typer.Option(metavar="SCRIPT", help="A shell script to run in the image at last; may be given again."),
    ] = None,
    suite: Annotated[str | None, typer.Option(metavar="SUITE", help="The Debian suite, such as trixie or sid.")] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="The size of its file system, such as 4GiB.")] = None,
    mirror: Annotated[
        str | None, typer.Option(metavar="URI", help="The Debian mirror, if not that of this machine's apt.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the mirror for newer packages now.")] = False,
) -> None:
    """Build an image, and print its id.

    The id is told by everything that goes in: packages with their versions, files, steps. An image that is there is not
    built again.
    """
    from gridvisor.app.image import build as build_now
    from gridvisor.app.image import own_recipe

    if mirror:
        os.environ["GRIDVISOR_MIRROR"] = mirror
    try:
        size_mib = parse_size(size) >> 20 if size else None
    except ValueError as error:
        raise Refused(f"{error}.") from error
    recipe = own_recipe(name, suite=suite, packages=include or [], tree=tree, steps=step or [], size_mib=size_mib)
    typer.echo(build_now(open_host(run="image-build"), recipe, refresh=refresh).id)


@app.command("list", epilog="Example: gridvisor image list")
def list_(output: OutputOption = Output.TEXT) -> None:
    """List the images that are there."""
    from gridvisor.app.image_use import images_in_use

    images = open_host().images.list()
    if output is Output.JSON:
        typer.echo(json.dumps([_facts(asdict(image)) for image in images], indent=2))
        return
    used = images_in_use(places())
    rows = [
        (
            image.name,
            image.id,
            image.suite,
            str(len(image.packages)),
            format_size(image.used_bytes),
            datetime.fromtimestamp(image.built_at, UTC).strftime("%Y-%m-%d %H:%M"),
            "yes" if image.id in used else "no",
        )
        for image in images
    ]
    typer.echo(
        columns(("NAME", "ID", "SUITE", "PACKAGES", "USED", "BUILT (UTC)", "IN USE"), rows, right="PACKAGES USED")
    )


@app.command(epilog="Example: gridvisor image show debian-13")
def show(name: Name, output: OutputOption = Output.TEXT) -> None:
    """Tell all about an image, its packages too."""
    image = open_host().images.find(name)
    facts = _facts(asdict(image))
    if output is Output.JSON:
        typer.echo(json.dumps(facts, indent=2))
        return
    facts.pop("packages")
    width = max(len(key) for key in facts)
    typer.echo("\n".join(f"{key:<{width}} : {value}" for key, value in facts.items()))
    typer.echo(columns(("PACKAGE", "VERSION"), [(package.name, package.version) for package in image.packages]))


@app.command(epilog="Example: gridvisor image rm site-se")
def rm(names: Annotated[list[str], typer.Argument(help="Names or ids.", autocompletion=_names)]) -> None:
    """Remove images that no volume is a copy of."""
    from gridvisor.app.image_use import remove_images

    remove_images(open_host().images, places(), names)


@app.command(epilog="Example: gridvisor image gc")
def gc() -> None:
    """Remove what is not needed.

    That is: images that nobody uses and that have a newer one of the same name, packages, lists and frozen releases
    that nobody has asked for in a month, and what killed builds left.
    """
    from gridvisor.app.image_use import images_in_use
    from gridvisor.release.freeze import clear_old

    freed = open_host().images.gc(images_in_use(places()))
    freed_bytes = freed.freed_bytes + clear_old(places())
    typer.echo(f"{counted(len(freed.removed), 'image')} removed, {format_size(freed_bytes)} freed")


def _facts(facts: dict[str, object]) -> dict[str, object]:
    """An image's record with what JSON has no word for in text."""
    return {**facts, "path": str(facts["path"])}
