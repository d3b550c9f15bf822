"""`gridvisor volume`: the disks of domains."""

from __future__ import annotations

from typing import Annotated

import typer

from gridvisor.cli.context import open_host, places
from gridvisor.cli.table import columns
from gridvisor.core.errors import Refused
from gridvisor.core.units import format_size, parse_size

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See, make and remove the volumes of domains.",
    epilog="Example: gridvisor volume list",
)


def _labels() -> list[str]:
    from gridvisor.storage.files import FilePool, groups

    return [volume.label for group in groups(places()) for volume in FilePool(places(), group).list()]


NewLabel = Annotated[str, typer.Argument(metavar="GROUP/NAME", help="The volume.")]
Label = Annotated[str, typer.Argument(metavar="GROUP/NAME", help="The volume.", autocompletion=_labels)]


@app.command("list", epilog="Example: gridvisor volume list")
def list_() -> None:
    """List volumes: size, room taken on the disk, user."""
    from gridvisor.app.volumes import users_of
    from gridvisor.storage.files import FilePool, groups

    host = open_host()
    users = users_of(host.monitor)
    volumes = [volume for group in groups(places()) for volume in FilePool(places(), group).list()]
    rows = [
        (volume.label, format_size(volume.size_bytes), format_size(volume.used_bytes), users.get(volume.path, "-"))
        for volume in volumes
    ]
    typer.echo(columns(("VOLUME", "SIZE", "USED", "DOMAIN"), rows, right="SIZE USED"))


@app.command(epilog="Example: gridvisor volume create vg0/se-data 2GiB")
def create(
    label: NewLabel, size: Annotated[str, typer.Argument(metavar="SIZE", help="How large, such as 2GiB.")]
) -> None:
    """Make an empty volume."""
    from gridvisor.storage.files import FilePool

    group, name = _parts(label)
    try:
        size_bytes = parse_size(size)
    except ValueError as error:
        raise Refused(f"{error}.") from error
    FilePool(places(), group).create(name, size_bytes)


@app.command(epilog="Example: gridvisor volume rm vg0/se-data")
def rm(label: Label) -> None:
    """Remove a volume that no domain uses."""
    from gridvisor.app.volumes import remove_volume

    _parts(label)
    host = open_host()
    remove_volume(host.pool, host.monitor, label)


def _parts(label: str) -> tuple[str, str]:
    group, slash, name = label.partition("/")
    if not (group and slash and name):
        raise Refused(f"'{label}' is not GROUP/NAME.", hint="gridvisor volume list")
    return group, name
