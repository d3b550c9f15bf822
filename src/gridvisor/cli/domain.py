"""`gridvisor domain`: the verbs of `xl`, for one domain."""

from __future__ import annotations

import json
import os
import sys
import time
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gridvisor.cli.context import Output, open_host, places
from gridvisor.cli.table import xl_list
from gridvisor.core.errors import Refused, Unsupported

if TYPE_CHECKING:
    from gridvisor.app.host import Host
    from gridvisor.monitor.xen.monitor import XenMonitor

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Begin with: gridvisor domain create --wait examples/vm1.cfg",
)


def _names() -> list[str]:
    from gridvisor.monitor.folder import DomainFolders

    return DomainFolders(places()).names()


_MONITOR: ContextVar[str] = ContextVar("monitor")  # the URI that this command line names


@app.callback()
def domain(
    monitor: Annotated[
        str, typer.Option("--monitor", metavar="URI", envvar="GRIDVISOR_MONITOR", help="uml, xen, xen+ssh://…, or box.")
    ] = "uml",
) -> None:
    """Create and steer domains (virtual machines) as `xl` does."""
    _MONITOR.set(monitor)


Name = Annotated[str, typer.Argument(help="The domain's name.", autocompletion=_names)]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="What to print.")]
Mib = Annotated[int, typer.Argument(metavar="MIB", min=1)]
StateFile = Annotated[str, typer.Argument(metavar="FILE", help="Its path in dom0.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long --wait waits.")]


@app.command(epilog="Example: gridvisor domain create --wait examples/vmid.cfg vmid=3 memory=96")
def create(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A configuration file in xl's syntax, or in the old xm's.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values in place of the file's, such as memory=128."),
    ] = None,
    console: Annotated[bool, typer.Option("--console", "-c", help="Attach the console; ctrl-] leaves it.")] = False,
    paused: Annotated[bool, typer.Option("--paused", "-p", help="Leave the domain paused.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the guest answers ssh.")] = False,
    timeout_s: Timeout = 120,
    image: Annotated[
        str | None, typer.Option(metavar="NAME", help="The image that a new root volume is made of, if not the base.")
    ] = None,
    publish: Annotated[
        list[str] | None,
        typer.Option(metavar="PORT:GUESTPORT", help="Publish a guest's port on 127.0.0.1; may be given again."),
    ] = None,
    overcommit: Annotated[bool, typer.Option("--overcommit", help="Let all volumes together exceed the disk.")] = False,
    exists_ok: Annotated[bool, typer.Option("--exists-ok", help="Be content with a domain that runs already.")] = False,
) -> None:
    """Boot a domain from its configuration file.

    Volumes that the file names and that are not there are made: the root as a clone of the image, `*-swap` empty. The
    first time, the image and the kernel are made too, which takes a minute or more.
    """
    from gridvisor.app.create import Wish, create_domain
    from gridvisor.app.wait import wait_for_ssh
    from gridvisor.domain.config import load_config

    read = load_config(file, _variables(settings or []))
    host = _host(run="create")
    for warning in read.warnings:
        host.bus.warn(f"{warning.span}: {warning.text}")
    name = read.domain.name
    there = exists_ok and any(row.name == name and row.state != "crashed" for row in host.monitor.list())
    if not there:
        create_domain(Wish(read.domain, image, _ports(publish or []), paused, overcommit), host)
        host.bus.note(f"domain {name} is created", where=name)
    if console:
        from gridvisor.cli.console import attach

        attach(host.monitor.console(name))
    elif wait and not paused:
        with host.bus.step("ssh answers", where=name):
            wait_for_ssh(host, name, timeout_s=timeout_s)


@app.command("list", epilog="Example: gridvisor domain list -o json")
def list_(
    name: Annotated[str | None, typer.Argument(help="Only this domain.", autocompletion=_names)] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List domains as `xl list` does.

    The columns: name, id, memory in MiB, processors, state, processor time in seconds. States: r running, p paused,
    s shut down, c crashed, d being destroyed.
    """
    from gridvisor.monitor.protocol import NoSuchDomain

    rows = [row for row in _host().monitor.list() if name in (None, row.name)]
    if name and not rows:
        raise NoSuchDomain(name)
    typer.echo(json.dumps([asdict(row) for row in rows], indent=2) if output is Output.JSON else xl_list(rows))


@app.command(epilog="Example: gridvisor domain console vm1")
def console(name: Name) -> None:
    """Attach the console of a domain; ctrl-] leaves it."""
    from gridvisor.cli.console import attach

    attach(_host().monitor.console(name))


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: gridvisor domain ssh vm1 -- uname -a",
)
def ssh(
    name: Name,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND]...", help="What to run there.")] = None,
) -> None:
    """Log in to a domain as root, or run a command there.

    The exit code is that of the command; 255 when the guest cannot be reached.
    """
    from gridvisor.app.login import ssh_command

    words = command[1:] if command and command[0] == "--" else command or []
    argv = ssh_command(_host(), name, words)
    os.execvp(argv[0], argv)


@app.command(epilog="Example: gridvisor domain pause vm1")
def pause(name: Name) -> None:
    """Hold a domain: its processor stops, its memory stays."""
    _host().monitor.pause(name)


@app.command(epilog="Example: gridvisor domain unpause vm1")
def unpause(name: Name) -> None:
    """Let a paused domain go on."""
    _host().monitor.unpause(name)


@app.command(epilog="Example: gridvisor domain shutdown --wait vm1")
def shutdown(
    names: Annotated[list[str] | None, typer.Argument(help="The domains.", autocompletion=_names)] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="All domains.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Return when they are gone.")] = False,
    timeout_s: Timeout = 120,
) -> None:
    """Ask domains to power off in good order."""
    from gridvisor.app.wait import wait_until_gone

    host = _host()
    wanted = [row.name for row in host.monitor.list() if row.state == "running"] if every else names or []
    if not wanted and not every:
        raise Refused("No domain was named.", hint="gridvisor domain shutdown NAME, or --all")
    for name in wanted:
        host.monitor.shutdown(name)
    if wait:
        wait_until_gone(host, wanted, timeout_s=timeout_s)


@app.command(epilog="Example: gridvisor domain reboot vm1")
def reboot(name: Name) -> None:
    """Ask a domain to reboot in good order."""
    _host().monitor.reboot(name)


@app.command(epilog="Example: gridvisor domain destroy --volumes vm1")
def destroy(
    name: Name,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove its volumes, keys and address too.")] = False,
) -> None:
    """End a domain at once, as if its power failed.

    Its volumes, keys and address stay, and a domain created again is the same machine, unless --volumes is given.
    """
    from gridvisor.app.destroy import destroy_domain

    destroy_domain(_host(run="destroy"), name, volumes=volumes)


@app.command(epilog="Example: gridvisor domain rename vm1 web")
def rename(name: Name, new_name: Annotated[str, typer.Argument(help="The name that it gets.")]) -> None:
    """Give a domain another name; the guest's own host name stays."""
    from gridvisor.app.rename import rename_domain

    rename_domain(_host(), name, new_name)


@app.command(epilog="Example: gridvisor domain info vm1")
def info(
    name: Annotated[str | None, typer.Argument(help="A domain; without it, the host.", autocompletion=_names)] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Tell about the host as `xl info` does, or about one domain."""
    from gridvisor.app.info import domain_facts, host_facts

    host = _host()
    facts = domain_facts(host, name) if name else host_facts(host)
    if output is Output.JSON:
        typer.echo(json.dumps(facts, indent=2))
    else:
        width = max(len(key) for key in facts)
        typer.echo("\n".join(f"{key:<{width}} : {value}" for key, value in facts.items()))


@app.command(epilog="Example: gridvisor domain top --delay 5")
def top(
    delay_s: Annotated[float, typer.Option("--delay", "-d", min=0.2, help="Seconds between two looks.")] = 2.0,
    iterations: Annotated[int, typer.Option("--iterations", "-i", min=0, help="How many looks; 0: until ctrl-C.")] = 0,
) -> None:
    """Show which domains use the processor, again and again."""
    from gridvisor.app.usage import usage
    from gridvisor.cli.table import columns

    host = _host()
    live = sys.stdout.isatty()
    looks = iterations or (0 if live else 1)
    before, count = host.monitor.list(), 0
    while True:
        began_s = time.monotonic()
        time.sleep(delay_s)
        after = host.monitor.list()
        rows = usage(before, after, seconds=time.monotonic() - began_s)
        head = ("NAME", "STATE", "CPU(sec)", "CPU(%)", "HELD(MiB)", "MEM(MiB)")
        table = columns(head, rows, right="CPU(sec) CPU(%) HELD(MiB) MEM(MiB)")
        typer.echo(("\033[H\033[2J" if live else "") + table)
        before, count = after, count + 1
        if count == looks:
            return


@app.command("mem-set", epilog="Example: gridvisor domain mem-set vm1 192")
def mem_set(name: Name, memory_mib: Mib) -> None:
    """Give a domain that much memory, of what it may have at most. Its kernel is asked, and takes a moment."""
    _xen("mem-set").set_memory(name, memory_mib)


@app.command("mem-max", epilog="Example: gridvisor domain mem-max vm1 256")
def mem_max(name: Name, memory_mib: Mib) -> None:
    """Say how much memory a domain may have at most."""
    _xen("mem-max").set_max_memory(name, memory_mib)


@app.command("vcpu-set", epilog="Example: gridvisor domain vcpu-set vm1 2")
def vcpu_set(name: Name, vcpus: Annotated[int, typer.Argument(metavar="NUMBER", min=1)]) -> None:
    """Give a domain more or fewer processors. It has at most those that it was started with."""
    _xen("vcpu-set").set_vcpus(name, vcpus)


@app.command(epilog="Example: gridvisor domain autostart vm1")
def autostart(
    name: Name, off: Annotated[bool, typer.Option("--off", help="Leave it down when dom0 boots.")] = False
) -> None:
    """Have dom0 create a domain again whenever it boots."""
    _xen("autostart").autostart(name, on=not off)


@app.command(epilog="Example: gridvisor domain save vm1 /var/lib/xen/vm1.save")
def save(name: Name, file: StateFile) -> None:
    """Write a domain, with its memory, to a file, and end it. Its disks stay as they are until it is restored."""
    _xen("save").save(name, file)


@app.command(epilog="Example: gridvisor domain restore /var/lib/xen/vm1.save")
def restore(file: StateFile) -> None:
    """Let a domain that was saved go on. The file stays; it is of no use once the domain has written to its disks."""
    _xen("restore").restore(file)


def _host(*, run: str | None = None) -> Host:
    """The host that --monitor names."""
    return open_host(run=run, monitor=_MONITOR.get())


def _xen(verb: str) -> XenMonitor:
    """The monitor, if it is Xen. Raises Unsupported for another one."""
    from gridvisor.monitor.xen.monitor import XenMonitor

    monitor = _host().monitor
    if isinstance(monitor, XenMonitor):
        return monitor
    raise Unsupported(
        f"The monitor '{monitor.name}' cannot do '{verb}': its guests keep the memory and the processor that they were"
        " started with, and cannot be saved.",
        hint="shut the domain down and create it again with other values, such as memory=512; or --monitor box",
    )


def _variables(settings: list[str]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    wrong = [setting for setting, (key, equals, _) in zip(settings, pairs, strict=True) if not (equals and key)]
    if wrong:
        raise Refused(f"'{wrong[0]}' is not KEY=VALUE.", hint="for example: memory=256")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _ports(texts: list[str]) -> dict[int, int]:
    ports = {}
    for text in texts:
        outer, colon, inner = text.partition(":")
        if not (colon and outer.isdecimal() and inner.isdecimal()):
            raise Refused(f"'{text}' does not name two ports.", hint="for example: --publish 8443:443")
        if not (0 < int(outer) < 65536 and 0 < int(inner) < 65536):
            raise Refused(f"'{text}': ports go from 1 to 65535.")
        ports[int(outer)] = int(inner)
    return ports
