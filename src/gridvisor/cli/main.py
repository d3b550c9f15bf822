"""`gridvisor`: its groups of commands, and how errors and exit codes reach the shell."""

from __future__ import annotations

import errno
import os
import signal
import traceback
from collections.abc import Iterator
from typing import Annotated

import typer

from gridvisor import __version__
from gridvisor.cli import doctor, domain, host, image, kernel, report, site, snapshot, verify, volume
from gridvisor.core.errors import ExitCode, GridvisorError
from gridvisor.core.printable import printable

app = typer.Typer(
    name="gridvisor",
    epilog="Begin with: gridvisor doctor",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
site.register(app)
app.command("verify", epilog="Example: gridvisor verify examples/kiam.yaml --candidate CANDIDATE.yaml")(verify.verify)
app.add_typer(domain.app, name="domain")
app.add_typer(host.app, name="host")
app.add_typer(image.app, name="image")
app.add_typer(kernel.app, name="kernel")
app.add_typer(report.app, name="report")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(volume.app, name="volume")
app.command("doctor", epilog="Example: gridvisor doctor")(doctor.doctor)


# What this machine can have against anything we do, wherever that is; all else that is not foreseen is our bug.
_HINTS = {
    errno.EACCES: "run it with sudo",
    errno.EPERM: "run it with sudo",
    errno.ENOSPC: "gridvisor image gc, gridvisor volume list, or make room otherwise",
    errno.EDQUOT: "gridvisor image gc, gridvisor volume list, or make room otherwise",
    errno.EROFS: "set GRIDVISOR_HOME to a folder that can be written",
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gridvisor {__version__}")
        raise typer.Exit


@app.callback()
def gridvisor(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Machines of a Grid site, run as paravirtual guests on this one."""


def main() -> None:
    """Run the command line; errors that users may see become a message and an exit code."""
    try:
        code = app(prog_name="gridvisor", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except SystemExit as leaving:  # so it is told here that the reader of our output has seen enough
        code = ExitCode.OK if isinstance(leaving.__context__, BrokenPipeError) else leaving.code
    except Exception as error:
        code = _told(error)
    if code == ExitCode.INTERRUPTED:
        typer.echo("interrupted", err=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done: no traceback while Python itself winds up
    raise SystemExit(int(code or 0))


def _told(error: Exception) -> int:
    """Tell the user of `error`, or of each one of a group; the exit code is that of the worst."""
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # wrong usage, as the command line's own parser says it
        error.show()
        return int(error.exit_code)
    foreseen = [_foreseen(one) for one in _leaves(error)]
    if None in foreseen:
        traceback.print_exception(error)
        typer.echo("This is a bug in gridvisor, not in your site.", err=True)
        return ExitCode.INFRASTRUCTURE
    told = [one for one in foreseen if one]
    label = "error: " if "NO_COLOR" in os.environ else typer.style("error: ", fg="red", bold=True)
    for one in told:
        typer.echo(label + printable(one.message), err=True)  # which may be a guest's words
        if one.hint:
            typer.echo(f"hint: {one.hint}", err=True)
    return max(one.exit_code for one in told)


def _foreseen(error: Exception) -> GridvisorError | None:
    """The error as users may see it, or None for a bug of ours."""
    if isinstance(error, OSError) and error.errno in _HINTS:
        where = f"'{error.filename}': " if error.filename else ""
        return GridvisorError(f"{where}{os.strerror(error.errno)}.", hint=_HINTS[error.errno])
    return error if isinstance(error, GridvisorError) else None


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
