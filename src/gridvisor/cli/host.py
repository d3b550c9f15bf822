"""`gridvisor host`: machines that run domains."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from gridvisor.cli.context import Output, open_host
from gridvisor.cli.doctor import show
from gridvisor.cli.site import OutputOption
from gridvisor.cli.table import columns
from gridvisor.core.errors import Refused
from gridvisor.core.units import format_size, parse_size

if TYPE_CHECKING:
    from gridvisor.app.xen_host import XenHost

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See what a Xen host lacks and holds, or box one.",
    epilog="Example: gridvisor host box up",
)
box = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A real Xen host in QEMU; no hardware support is needed.",
    epilog="Example: gridvisor host box up; gridvisor host box ssh -- xl list",
)
app.add_typer(box, name="box")

XenUri = Annotated[str, typer.Argument(metavar="URI", help="xen, xen+ssh://root@dom0, or box.")]


@app.command(epilog="Example: gridvisor host check xen+ssh://root@dom0.example.org")
def check(
    uri: XenUri,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say what our guests need of a Xen host, and what is missing.

    For each thing that is missing, what mends it is given. The exit code is 3 when something is missing.
    """
    from gridvisor.app.xen_needs import look_at

    show(look_at(_xen_host(uri).dom0), output, then=f"gridvisor up examples/kiam.yaml --monitor {uri}")


@app.command(epilog="Example: gridvisor host disks xen+ssh://root@dom0.example.org --volumes")
def disks(
    uri: XenUri,
    volumes: Annotated[bool, typer.Option("--volumes", help="A line for each volume instead.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show which machines die with which disk of a Xen host."""
    from gridvisor.app.xen_disks import disks_of

    found = disks_of(_xen_host(uri).dom0)
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(use) for use in found], indent=1))
    elif volumes:
        rows = [
            (use.disk.name, held.name, format_size(held.size_bytes), held.mounted)
            for use in found
            for held in use.disk.holds
        ]
        typer.echo(columns(("DISK", "VOLUME", "SIZE", "MOUNTED"), rows, right="SIZE"))
    else:
        rows = [
            (use.disk.name, format_size(use.disk.size_bytes), use.disk.model, ", ".join(use.domains)) for use in found
        ]
        typer.echo(columns(("DISK", "SIZE", "MODEL", "DIE WITH IT"), rows, right="SIZE"))
    for use in found:
        if use.shared:
            typer.echo(
                f"dom0 shares disk {use.disk.name} with guests, which wait for each other's writes; "
                "a volume group on another disk keeps them apart.",
                err=True,
            )


@box.command(epilog="Example: gridvisor host box up --memory 8GiB")
def up(
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Memory of a new box, dom0's 512 MiB included.")
    ] = None,
    cpus: Annotated[int | None, typer.Option("--cpus", min=1, help="Processors of a new box.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="SIZE", help="Its volume group; takes room as it fills.")
    ] = None,
) -> None:
    """Start the box, or resume it; make it the first time.

    Without KVM a box is emulated: it is several times slower than User-Mode Linux, and as real as Xen is.
    """
    from gridvisor.app.box import box_of
    from gridvisor.app.site.clock import set_clocks
    from gridvisor.app.xen_host import host_at
    from gridvisor.monitor.box.box import default_hardware

    host = open_host(run="box-up")
    it = box_of(host)
    wish = None
    if memory or cpus or group:
        if it.status() is not None:
            raise Refused("There is a box already, and it stays what it is.", hint="gridvisor host box rm")
        usual = default_hardware(host.target)
        wish = replace(
            usual,
            memory_mib=_size(memory) >> 20 if memory else usual.memory_mib,
            cpus=cpus or usual.cpus,
            group_mib=_size(group) >> 20 if group else usual.group_mib,
        )
    if it.up(wish):
        set_clocks(host_at(host, "box"))
    typer.echo("Its domains: gridvisor host box ssh -- xl list", err=True)


@box.command(epilog="Example: gridvisor host box down")
def down(
    power_off: Annotated[bool, typer.Option("--power-off", help="Power off its guests and dom0 instead.")] = False,
) -> None:
    """Stop the box; `up` goes on from there.

    It is kept with all that runs in it, memory included.
    """
    from gridvisor.app.box import box_of

    box_of(open_host(run="box-down")).down(keep=not power_off)


@box.command(epilog="Example: gridvisor host box status -o json")
def status(output: OutputOption = Output.TEXT) -> None:
    """Show what the box is, and what it does."""
    from gridvisor.app.box import box_of

    found = box_of(open_host()).status()
    if output is Output.JSON:
        typer.echo(json.dumps(None if found is None else asdict(found), indent=1))
        return
    if found is None:
        typer.echo("There is no box: gridvisor host box up", err=True)
        return
    hardware = found.hardware
    row = (
        *(found.state.value, found.xen, hardware.accelerator, str(hardware.cpus)),
        *(format_size(size) for size in (hardware.memory_mib << 20, hardware.group_mib << 20, found.used_bytes)),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(found.since_s)) if found.since_s else "",
        f"127.0.0.1:{found.port}" if found.since_s else "",
    )
    head = ("STATE", "XEN", "BY", "CPUS", "MEMORY", "GROUP", "ON DISK", "SINCE", "SSH")
    typer.echo(columns(head, [row], right="CPUS"))


@box.command(
    epilog="Example: gridvisor host box ssh -- xl list",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def ssh(
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to run.")] = None,
) -> None:
    """Log in to dom0 as root, or run a command there."""
    from gridvisor.app.box import box_of

    words = box_of(open_host()).login_argv(command or ())
    os.execvp(words[0], words)


@box.command(epilog="Example: gridvisor host box rm --yes")
def rm(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove the box with all that is in it.

    That is guests, volumes and keys; sites that were in it are forgotten.
    """
    from gridvisor.app.box import box_of
    from gridvisor.app.site.opening import forget_sites

    host = open_host(run="box-rm")
    it = box_of(host)
    if it.status() is None:
        typer.echo("There is no box.", err=True)
        return
    if not yes:
        typer.confirm("Remove the box, its guests and their disks?", abort=True)
    forget_sites(host.places, "box")  # first, so that a killed run leaves a box to say this to again
    it.remove()


def _xen_host(uri: str) -> XenHost:
    from gridvisor.app.xen_host import XenHost

    host = open_host(monitor=uri)
    if not isinstance(host, XenHost):
        raise Refused(f"'{uri}' is no Xen host.", hint="xen, xen+ssh://root@dom0, or box; gridvisor doctor for uml")
    return host


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
