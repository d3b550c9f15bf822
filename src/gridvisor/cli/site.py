"""The verbs of a whole site: up, status, run, check, ssh, console, logs, down, destroy, list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gridvisor.cli.context import Output, open_host, places
from gridvisor.cli.table import columns
from gridvisor.cli.terminal import Terminal
from gridvisor.core.errors import ExitCode, Refused
from gridvisor.core.events import Sink
from gridvisor.core.units import counted

if TYPE_CHECKING:
    from gridvisor.app.site.deployment import Deployment
    from gridvisor.app.site.plan import Step


def known_sites() -> list[str]:
    """The names of the sites of this host."""
    return sorted(path.parent.name for path in (places().state / "sites").glob("*/site.yaml"))


def _machines(context: typer.Context) -> list[str]:
    site = context.params.get("site")
    return sorted(path.name for path in (places().state / "sites").glob(f"{site or '*'}/machines/*"))


SiteArgument = Annotated[
    str | None,
    typer.Argument(metavar="[SITE]", help="A site file, or the name of a site that is up.", autocompletion=known_sites),
]
SiteOption = Annotated[
    str | None,
    typer.Option("--site", "-s", metavar="SITE", help="Which site, if there are several.", autocompletion=known_sites),
]
MachineArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="Such as ce.", autocompletion=_machines)]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", help="How long to wait; ten times that on emulated processors."),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="What to print.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(epilog="Example: gridvisor up examples/kiam.yaml")(up)
    app.command(epilog="Example: gridvisor status -o json")(status)
    app.command(
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        epilog="Example: gridvisor run -- hostname",
    )(run)
    app.command(epilog="Example: gridvisor check examples/kiam.yaml")(check)
    app.command(
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        epilog="Example: gridvisor ssh ce -- squeue",
    )(ssh)
    app.command(epilog="Example: gridvisor console ce")(console)
    app.command(epilog="Example: gridvisor logs --file site-logs.tar.gz")(logs)
    app.command(epilog="Example: gridvisor down")(down)
    app.command(epilog="Example: gridvisor destroy -y kiam-test")(destroy)
    app.command("list", epilog="Example: gridvisor list")(list_)


def up(
    site: SiteArgument = None,
    monitor: Annotated[
        str | None,
        typer.Option("--monitor", metavar="URI", help="Where: uml, xen, xen+ssh://root@dom0, box; as the file says."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    timeout_s: Timeout = 600,
) -> None:
    """Bring a site up, or to what its changed file says.

    Builds what is missing, boots the machines and waits until their services answer. Machines that are as the file says
    are left alone, unless a service has ended: that is started again. When all are well, nothing is done.
    """
    from gridvisor.app.site import up as story
    from gridvisor.app.site.opening import deployed, keep_site_file, load_known_site, site_file

    began_s = time.monotonic()
    file = site_file(places(), site)
    checked, machines = load_known_site(places(), file)
    if dry_run:
        _show_plan(story.plan_up(deployed(open_host(), checked, machines, monitor)))
        return
    with _board([machine.name for machine in machines]) as sink:
        deployment = deployed(open_host(run="up", sink=sink), checked, machines, monitor)
        keep_site_file(deployment, file)
        steps = story.up(deployment, _show_plan, timeout_s=timeout_s)
    if steps:
        typer.echo(_table(deployment))
        _what_next(deployment, time.monotonic() - began_s)


def status(site: SiteArgument = None, output: OutputOption = Output.TEXT) -> None:
    """Say what each machine of a site is doing, and since when.

    The exit code is 1 when a machine is not ready.
    """
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.app.site.restoring import restored_from
    from gridvisor.app.site.status import site_status

    deployment = open_deployment(open_host(), site)
    found = site_status(deployment)
    if output is Output.JSON:
        facts = {"site": deployment.site.site, "machines": [asdict(one) for one in found]}
        typer.echo(json.dumps(facts, indent=2))
    else:
        typer.echo(_table(deployment))
    if name := restored_from(deployment.folder):
        again = f"gridvisor snapshot restore {deployment.site.site} {name}"
        typer.echo(f"Its restore from '{name}' goes on, or was broken off: {again}", err=True)
    if any(one.state != "ready" for one in found):
        raise typer.Exit(ExitCode.SAID_NO)


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What the job runs, on a worker node.")],
    site: SiteOption = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="A user of the site; the first one.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many jobs of it.")] = 1,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", metavar="FILE", help="A file for the job's folder; may be given again."),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="FILE", help="A file that the job leaves, to be put on the SE; again."),
    ] = None,
    timeout_s: Timeout = 600,
) -> None:
    """Run a command as a Grid job, and print its output.

    It goes from the user interface through the computing element to a worker node, as the user's jobs do.

    The exit code is that of the job, or the highest one of several.
    """
    from gridvisor.app.site.job import JobWish, run_jobs
    from gridvisor.app.site.opening import open_deployment

    deployment = open_deployment(open_host(run="run"), site)
    wish = JobWish(tuple(_words(command)), user, count, tuple(inputs or ()), tuple(outputs or ()))
    worst = 0
    for result in run_jobs(deployment, wish, timeout_s=timeout_s):
        sys.stdout.write(result.stdout)
        sys.stderr.write(result.stderr)
        for url in result.stored:
            typer.echo(f"Stored: {url}", err=True)
        if result.job.error:
            typer.echo(f"The job {result.job.id} has failed: {result.job.error}", err=True)
        worst = max(worst, result.status)
    if worst:
        raise typer.Exit(worst)


def check(
    site: SiteArgument = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the running site too: the acceptance probes.")] = False,
    select: Annotated[
        str | None, typer.Option("-k", metavar="EXPRESSION", help="Only probes that match, as pytest's -k.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML there.")] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--probes", metavar="FOLDER", help="Probes of your own (pytest files), after the shipped ones."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check a site file; with --live, the running site.

    Nothing is touched. Each problem of the file is told with its place: those of its keys and values all at once, and
    when there are none, what does not fit together. The exit code of --live is 1 when a probe fails, and 3 when it is
    our own tools that do.
    """
    from gridvisor.app.site.opening import open_deployment, site_file
    from gridvisor.site.check import load_site

    if not live:
        for option, given in (("-k", select), ("--junit", junit), ("--probes", folders)):
            if given:
                raise Refused(f"{option} needs --live.", hint="gridvisor check --live asks the running site")
        file = site_file(places(), site)
        checked, machines = load_site(file)
        if output is Output.JSON:
            typer.echo(json.dumps({"site": checked.site, "file": str(file), "machines": len(machines)}, indent=2))
        else:
            typer.echo(f"{file}: site '{checked.site}' of {counted(len(machines), 'machine')} is fine.")
        return
    from gridvisor.cli.probes import ProbeLines, probes_json
    from gridvisor.probe.outcome import exit_code
    from gridvisor.probe.run import run_probes

    deployment = open_deployment(open_host(), site)
    lines = ProbeLines(quiet=output is Output.JSON)
    named = str(site_file(places(), site))
    found = run_probes(named, lines.show, folders=folders or [], select=select, junit=junit)
    if output is Output.JSON:
        typer.echo(probes_json(deployment.site.site, found))
    else:
        typer.echo(lines.summary(found))
    raise typer.Exit(exit_code(found))


def ssh(
    machine: MachineArgument,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND]...", help="What to run there.")] = None,
    site: SiteOption = None,
    user: Annotated[str, typer.Option("--user", "-l", metavar="NAME", help="Who to be there.")] = "root",
) -> None:
    """Log in to a machine of a site, or run a command on it."""
    from gridvisor.app.site.opening import open_deployment

    deployment = open_deployment(open_host(), site)
    found = deployment.machine(machine)
    if machine not in deployment.rows():
        raise Refused(f"'{machine}' is not running.", hint=f"gridvisor up {deployment.site.site}")
    words = _words(command)
    if user != "root":
        words = ["runuser", "-l", user, "-c", subprocess.list2cmdline(words)] if words else ["su", "-", user]
    argv = deployment.login_argv(found, words)
    os.execvp(argv[0], argv)


def console(machine: MachineArgument, site: SiteOption = None) -> None:
    """Attach the console of a machine (ctrl-] leaves it)."""
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.cli.console import attach

    deployment = open_deployment(open_host(), site)
    name = deployment.domain_name(deployment.machine(machine))
    attach(deployment.host.monitor.console(name))


def logs(
    site: SiteArgument = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Where to; NAME-logs-TIME.tar.gz here.")
    ] = None,
) -> None:
    """Collect what happened on a site in one file.

    Consoles, journals, service logs and versions of all machines; the file's name is printed.
    """
    from gridvisor.app.site.logs import collect_logs
    from gridvisor.app.site.opening import open_deployment

    deployment = open_deployment(open_host(run="logs"), site)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target = file or Path(f"{deployment.site.site}-logs-{stamp}.tar.gz")
    collect_logs(deployment, target)
    typer.echo(str(target))


def down(
    site: SiteArgument = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="A machine is ended that long after it was asked.")
    ] = 60,
) -> None:
    """Power a site off; `up` goes on from there.

    What its machines wrote stays.
    """
    from gridvisor.app.site.down import down as story
    from gridvisor.app.site.opening import open_deployment

    story(open_deployment(open_host(run="down"), site), timeout_s=timeout_s)


def destroy(
    site: SiteArgument = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove data volumes too, without asking.")] = False,
) -> None:
    """End a site and remove all that belongs to it.

    Machines, volumes, keys, certificates and network; data volumes only after asking.
    """
    from gridvisor.app.site.down import data_volumes
    from gridvisor.app.site.down import destroy as story
    from gridvisor.app.site.opening import open_deployment

    deployment = open_deployment(open_host(run="destroy"), site)
    data = data_volumes(deployment)
    keep_data = bool(data) and not yes
    if keep_data and sys.stdin.isatty():
        keep_data = not typer.confirm(f"Remove the data volumes {', '.join(data)} too?")
    story(deployment, keep_data=keep_data)
    if keep_data:
        names = ", ".join(f"{deployment.pool_name}/{name}" for name in data)
        typer.echo(f"Kept: {names}. To remove them too: gridvisor volume rm NAME", err=True)


def list_(output: OutputOption = Output.TEXT) -> None:
    """List the sites of this host."""
    from gridvisor.app.site.opening import open_deployment
    from gridvisor.app.site.status import site_status

    host = open_host()
    rows = []
    for name in known_sites():
        deployment = open_deployment(host, name)
        states = [one.state for one in site_status(deployment)]
        rows.append(
            {"site": name, "domain": deployment.site.domain, "machines": len(states), "ready": states.count("ready")}
        )
    if output is Output.JSON:
        typer.echo(json.dumps(rows, indent=2))
    else:
        cells = [tuple(str(cell) for cell in row.values()) for row in rows]
        typer.echo(columns(("SITE", "DOMAIN", "MACHINES", "READY"), cells, right="MACHINES READY"))


def _words(command: list[str] | None) -> list[str]:
    """The words after `--`, which the parser leaves in place."""
    words = command or []
    return words[1:] if words[:1] == ["--"] else words


@contextmanager
def _board(machines: list[str]) -> Iterator[Sink]:
    """Where progress goes: on a terminal a live line for each machine, else a line for each step."""
    if not sys.stderr.isatty():
        yield Terminal(sys.stderr)
        return
    from gridvisor.cli.board import Board

    board = Board(machines)
    with board.shown():
        yield board


def _show_plan(steps: Sequence[Step]) -> None:
    if not steps:
        typer.echo("Nothing to do: the site is as its file says.", err=True)
    for step in steps:
        typer.echo(f"  {step.says}", err=True)


def _table(deployment: Deployment) -> str:
    from gridvisor.app.site.status import site_status

    rows = [
        (
            one.name,
            one.role,
            one.state,
            _ago(one.since_s),
            one.address,
            f"{one.held_mib}/{one.memory_mib}",
            ", ".join(f"127.0.0.1:{port} → {guest_port}" for port, guest_port in one.published.items()),
        )
        for one in site_status(deployment)
    ]
    return columns(("MACHINE", "ROLE", "STATE", "SINCE", "ADDRESS", "MEM(MiB)", "PUBLISHED"), rows, right="MEM(MiB)")


def _ago(since_s: float | None) -> str:
    if since_s is None:
        return ""
    seconds = max(0, int(time.time() - since_s))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _what_next(deployment: Deployment, seconds: float) -> None:
    name = deployment.site.site
    typer.echo(f"\nSite '{name}' is up after {seconds:.0f} s. Try:")
    if deployment.of_role("ui") and deployment.of_role("ce"):
        typer.echo("  gridvisor run -- hostname       a job: UI → CE → worker node, and its output back")
    typer.echo("  gridvisor check --live          the acceptance probes")
    typer.echo(f"  gridvisor ssh {deployment.machines[0].name:<17} a shell there")
    typer.echo(f"  gridvisor destroy {name:<13} the end of it")
