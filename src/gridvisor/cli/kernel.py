"""`gridvisor kernel`: the kernel pack that guests boot with."""

from __future__ import annotations

from typing import Annotated

import typer

from gridvisor.cli.context import open_host
from gridvisor.kernel.pack import Kind

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See and renew the kernel that guests boot with.",
    epilog="Example: gridvisor kernel build --refresh",
)


@app.command(epilog="Example: gridvisor kernel build --xen trimmed")
def build(
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the mirror for a newer kernel now.")] = False,
    xen: Annotated[
        Kind | None, typer.Option("--xen", help="The kernel for guests and boxes on Xen, and of which kind.")
    ] = None,
) -> None:
    """Build the kernel pack, if it is not there, and print its id.

    Running guests keep the kernel that they have; guests that are created later get the new one.

    For Xen there are two: packaged is Debian's, and trimmed one that is compiled of Debian's source for paravirtual
    machines alone. That takes some twenty minutes, once; without KVM, boxes and guests then boot in two thirds of the
    time. New ones have the kind that was built last.
    """
    host = open_host(run="kernel-build")
    if xen is None:
        pack = host.uml_pack(refresh=refresh)
        typer.echo(f"{pack.id}  {pack.version}  {pack.mode}")
        return
    from gridvisor.kernel.xen import xen_pack

    chosen = xen_pack(host.places, host.bus, target=host.target, mirror_uri=host.mirror_uri, refresh=refresh, kind=xen)
    typer.echo(f"{chosen.id}  {chosen.version}  {xen}")
