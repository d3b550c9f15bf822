"""`gridvisor doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gridvisor.cli.context import Output, places
from gridvisor.cli.table import columns
from gridvisor.core.errors import ExitCode

if TYPE_CHECKING:
    from gridvisor.app.finding import Finding


def doctor(output: Annotated[Output, typer.Option("--output", "-o", help="What to print.")] = Output.TEXT) -> None:
    """Say what guests need of this machine, and what is missing.

    For each thing that is missing, the command that mends it is given. The exit code is 3 when something is missing.
    """
    from gridvisor.app.doctor import examine

    show(examine(places()), output, then="gridvisor up examples/kiam.yaml")


def show(findings: Sequence[Finding], output: Output, *, then: str) -> None:
    """Print what was found, and `then` what to begin with; leaves with the exit code of what is missing."""
    missing = [finding for finding in findings if finding.verdict == "missing"]
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        typer.echo(columns(("WHAT", "VERDICT", "WHY"), [(f.what, f.verdict.value, f.says) for f in findings]))
        for finding in missing:
            typer.echo(f"to mend '{finding.what}':  {finding.mend}")
        if not missing:
            typer.echo(f"Nothing is missing. Begin with: {then}")
    if missing:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)
