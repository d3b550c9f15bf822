"""`gridvisor snapshot`: a site as it was."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gridvisor.cli.context import Output, open_host, places
from gridvisor.cli.site import OutputOption, SiteArgument, known_sites
from gridvisor.cli.table import columns
from gridvisor.core.units import format_size


class _TakeByDefault(TyperGroup):
    """A group in which `SITE NAME` alone means `take SITE NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # its type is private to typer since 0.26
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["take", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_TakeByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Keep a whole site as it is, and go back to that.",
    epilog="Example: gridvisor snapshot kiam-test before; gridvisor snapshot restore kiam-test before",
)


def _snapshots(context: typer.Context) -> list[str]:
    site = context.params.get("site") or "*"
    return sorted(path.parent.name for path in (places().state / "snapshots").glob(f"{site}/[!.]*/snapshot.json"))


Site = Annotated[str, typer.Argument(metavar="SITE", help="The site.", autocompletion=known_sites)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The snapshot's name.", autocompletion=_snapshots)]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called.")]


@app.command(epilog="Example: gridvisor snapshot take kiam-test before")
def take(site: Site, name: NewName) -> None:
    """Keep the site as it is now.

    Machines that run stand still together while what they have on their disks is kept, and on Xen what they have in
    memory.
    """
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.app.site.snapshot import take_snapshot

    snapshot = take_snapshot(open_deployment(open_host(run="snapshot"), site), name)
    typer.echo(f"'{name}' of '{site}': {format_size(snapshot.used_bytes)}.", err=True)


@app.command(epilog="Example: gridvisor snapshot restore kiam-test before")
def restore(
    site: Site,
    name: Name,
    timeout_s: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait.")] = 600,
) -> None:
    """Bring the site back to what it was.

    Its machines boot with the disks that they had, or on Xen go on with the memory that they had, until their services
    answer. What they have written since is lost, without asking. Keys and certificates stay as they are.
    """
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.app.site.snapshot import restore_snapshot

    restore_snapshot(open_deployment(open_host(run="restore"), site), name, timeout_s=timeout_s)


@app.command("list", epilog="Example: gridvisor snapshot list kiam-test")
def list_(site: SiteArgument = None, output: OutputOption = Output.TEXT) -> None:
    """List the snapshots of a site, oldest first.

    MEMORY counts the machines that are kept with what they had in memory.
    """
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.app.site.snapshot import list_snapshots

    found = list_snapshots(open_deployment(open_host(), site))
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    rows = [
        (
            one.name,
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at_s)),
            str(len(one.machine_ids)),
            str(len(one.with_memory)),
            format_size(one.used_bytes),
        )
        for one in found
    ]
    typer.echo(columns(("SNAPSHOT", "TAKEN", "MACHINES", "MEMORY", "SIZE"), rows, right="MACHINES MEMORY SIZE"))


@app.command(epilog="Example: gridvisor snapshot rm kiam-test before")
def rm(site: Site, name: Name) -> None:
    """Remove a snapshot. `gridvisor destroy` removes all of its site."""
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.app.site.snapshot import remove_snapshot

    remove_snapshot(open_deployment(open_host(), site), name)
