"""`gridvisor kernel`: the kernel pack that guests boot with."""

from __future__ import annotations

from typing import Annotated

import typer

from gridvisor.cli.context import open_host

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See and renew the kernel that guests boot with.",
    epilog="Example: gridvisor kernel build --refresh",
)


@app.command(epilog="Example: gridvisor kernel build --refresh")
def build(
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the mirror for a newer kernel now.")] = False,
) -> None:
    """Build the kernel pack, if it is not there, and print its id.

    Running guests keep the kernel that they have; guests that are created later get the new one.
    """
    pack = open_host(run="kernel-build").uml_pack(refresh=refresh)
    typer.echo(f"{pack.id}  {pack.version}  {pack.mode}")
