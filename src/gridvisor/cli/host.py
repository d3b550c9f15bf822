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
from gridvisor.core.units import counted, format_size, parse_size

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


@app.command(epilog="Example: gridvisor host prepare xen+ssh://root@dom0.example.org --disk /dev/sdb --disk /dev/sdc")
def prepare(
    uri: Annotated[str, typer.Argument(metavar="URI", help="xen+ssh://root@dom0; or xen, for this machine.")],
    disks: Annotated[
        list[str] | None,
        typer.Option("--disk", metavar="DEVICE", help="An empty disk for guests; may be given several times."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--dom0-memory", metavar="SIZE", help="Memory of dom0; 2GiB where it has no fixed one so far."),
    ] = None,
    boot: Annotated[
        bool | None, typer.Option("--reboot/--no-reboot", help="Boot it anew at the end, or not; asked otherwise.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is to be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; boot it anew only with --reboot.")] = False,
) -> None:
    """Make a Debian machine a Xen host.

    Packages, dom0's memory, the entry that GRUB starts by default, and a volume group on disks that you name; what is
    as it should be is left as it is. A disk with anything on it is refused. The exit code is 3 when something is
    missing at the end, as with `host check`.
    """
    from gridvisor.app.prepare.facts import look
    from gridvisor.app.prepare.step import Wish, reboot_why, steps
    from gridvisor.app.prepare.story import carry_out, reboot
    from gridvisor.app.xen_needs import look_at
    from gridvisor.run.ssh import Ssh

    if uri == "box":
        raise Refused("A box has all that guests need, and stays what it is.", hint="gridvisor host box up")
    named = tuple(disks or ())
    for disk in named:
        if not disk.startswith("/dev/") or any(c.isspace() for c in disk):
            raise typer.BadParameter(f"'{disk}' is no device such as /dev/sdb")
    wish = Wish(_size(memory) >> 20 if memory else None)
    host = _xen_host(uri, run=None if dry_run else "host-prepare")
    dom0 = host.dom0
    facts = look(dom0, named)
    to_do, why = steps(facts, wish), reboot_why(facts, wish)
    rows = [(step.what, step.does) for step in to_do]
    if why:
        ends = f"; {counted(facts.guests, 'guest')} of it will end" if facts.guests else ""
        rows.append(("reboot", why + ends))
    if not rows:
        typer.echo("Nothing is to be done.")
    else:
        typer.echo(columns(("TO DO", "WHAT"), rows))
        if dry_run:
            return
    if to_do:
        if not yes:
            typer.confirm(
                "Do this? You are asked again before a reboot." if why and boot is None else "Do this?", abort=True
            )
        facts = carry_out(dom0, facts, wish, named, bus=host.bus)
        why = reboot_why(facts, wish)
    if why:
        ask = boot is None and not yes
        if isinstance(dom0, Ssh) and (boot or (ask and typer.confirm(f"Reboot '{dom0.name}' now?"))):
            reboot(dom0, facts.boot_id, bus=host.bus)
        else:
            typer.echo(f"It has to be booted anew {why}; then: gridvisor host check {uri}", err=True)
    show(look_at(dom0), Output.TEXT, then=f"gridvisor up examples/kiam.yaml --monitor {uri}")


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


def _xen_host(uri: str, *, run: str | None = None) -> XenHost:
    from gridvisor.app.xen_host import XenHost

    host = open_host(monitor=uri, run=run)
    if not isinstance(host, XenHost):
        raise Refused(f"'{uri}' is no Xen host.", hint="xen, xen+ssh://root@dom0, or box; gridvisor doctor for uml")
    return host


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
