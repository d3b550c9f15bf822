"""`gridvisor`: its groups of commands, and how errors and exit codes reach the shell."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated

import typer

from gridvisor import __version__
from gridvisor.cli import doctor, domain, image, kernel, volume
from gridvisor.core.errors import ExitCode, GridvisorError

app = typer.Typer(
    name="gridvisor",
    help="A Grid site on paravirtual machines. Begin with: gridvisor doctor",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(domain.app, name="domain")
app.add_typer(image.app, name="image")
app.add_typer(kernel.app, name="kernel")
app.add_typer(volume.app, name="volume")
app.command("doctor")(doctor.doctor)


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
    """A Grid site on paravirtual machines. Begin with: gridvisor doctor"""


def main() -> None:
    """Run the command line; errors that users may see become a message and an exit code."""
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except (GridvisorError, ExceptionGroup) as error:
        code = _tell(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _HINTS:
            raise SystemExit(_tell(_of_this_machine(error))) from None
        if not hasattr(error, "exit_code"):
            traceback.print_exc()
            typer.echo("This is a bug in gridvisor, not in your site.", err=True)
            raise SystemExit(ExitCode.INFRASTRUCTURE) from error
        error.show() if hasattr(error, "show") else None
        code = ExitCode.INTERRUPTED if type(error).__name__ == "Abort" else error.exit_code
    raise SystemExit(int(code or 0))


def _of_this_machine(error: OSError) -> GridvisorError:
    where = f"'{error.filename}': " if error.filename else ""
    return GridvisorError(f"{where}{os.strerror(error.errno or 0)}.", hint=_HINTS[error.errno or 0])


def _tell(error: GridvisorError | ExceptionGroup[Exception]) -> ExitCode:
    """Print the error, or every one of a group; the worst of their exit codes."""
    worst = ExitCode.OK
    for one in _leaves(error):
        if not isinstance(one, GridvisorError):
            raise one
        typer.echo(typer.style("error: ", fg="red", bold=True) + one.message, err=True)
        if one.hint:
            typer.echo(f"hint: {one.hint}", err=True)
        worst = max(worst, one.exit_code)
    return worst


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
