"""`gridvisor doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from gridvisor.cli.context import Output, places
from gridvisor.cli.table import columns
from gridvisor.core.errors import ExitCode


def doctor(output: Annotated[Output, typer.Option("--output", "-o", help="What to print.")] = Output.TEXT) -> None:
    """Say what guests need of this machine, and what is missing.

    For each thing that is missing, the command that mends it is given. The exit code is 3 when something is missing.
    """
    from gridvisor.app.doctor import Verdict, examine

    findings = examine(places())
    missing = [finding for finding in findings if finding.verdict is Verdict.MISSING]
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        typer.echo(columns(("WHAT", "VERDICT", "WHY"), [(f.what, f.verdict.value, f.says) for f in findings]))
        for finding in missing:
            typer.echo(f"to mend '{finding.what}':  {finding.mend}")
        if not missing:
            typer.echo("Nothing is missing. Begin with: gridvisor up examples/kiam.yaml")
    if missing:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)
