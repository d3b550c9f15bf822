"""`verify`: a candidate release on trial."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gridvisor.cli.context import Output, open_host
from gridvisor.cli.site import OutputOption, SiteArgument
from gridvisor.core.errors import Refused

_STAGES = ("self-check", "fresh", "upgrade", "rollback")


def _stages() -> list[str]:
    return list(_STAGES)


def verify(
    site: SiteArgument = None,
    candidate: Annotated[
        Path, typer.Option("--candidate", "-c", metavar="FILE", help="The candidate: its packages and files.")
    ] = ...,  # type: ignore[assignment]
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE",
            help=f"Leave a stage out: {', '.join(_STAGES)}; may be given again.",
            autocompletion=_stages,
        ),
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="When the upgrade is not as it should be, find the guilty package or file.")
    ] = False,
    known: Annotated[
        Path | None, typer.Option("--known", metavar="FILE", help="Failures that are known, and until when.")
    ] = None,
    probes: Annotated[
        list[Path] | None,
        typer.Option("--probes", metavar="FOLDER", help="Probes of your own (pytest files), after the shipped ones."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the trial's sites up; one that failed is not rolled back.")
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Do not go on with a trial that was broken off.")] = False,
    upgrade_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long apt may take on one machine, before it is ended.")
    ] = 600,
    output: OutputOption = Output.TEXT,
) -> None:
    """Try a release, and say whether production may have it.

    The site is built as its file says, probed, measured, and kept as a snapshot. Then one is built with the candidate
    from nothing; the first is upgraded in place, machine by machine, with probes after each, while jobs and transfers
    go on, restarted, and measured again; and it is rolled back. A site that is up is not touched.

    The exit code is 0 for 'ready', with remarks or without, 1 for 'not ready', and 3 for 'no verdict': the fault is
    ours, or that of what is around the site.
    """
    from gridvisor.probe.run import require_probes
    from gridvisor.report.files import write_reports
    from gridvisor.report.text import render
    from gridvisor.trial.known import read_known
    from gridvisor.trial.model import Stage
    from gridvisor.trial.store import TrialStore
    from gridvisor.trial.verdict import exit_code
    from gridvisor.trial.verify import VerifyWish
    from gridvisor.trial.verify import verify as story

    for stage in without or []:
        if stage not in _STAGES:
            raise Refused(f"There is no stage '{stage}'.", hint=f"the stages: {', '.join(_STAGES)}")
    stages = tuple(stage for stage in Stage if stage.value not in (without or []))
    if not stages:
        raise Refused("All stages are left out: nothing would be tried.", hint="leave at least one in")
    require_probes(probes or [])
    wish = VerifyWish(
        site=site,
        candidate=candidate,
        stages=stages,
        known=read_known(known) if known else (),
        probes=tuple(probes or ()),
        bisect=bisect,
        keep=keep,
        anew=anew,
        upgrade_s=upgrade_timeout,
    )
    host = open_host(run="verify")
    trial = story(wish, host)
    page = write_reports(trial, TrialStore(host.places).folder_of(trial))
    if output is Output.JSON:
        typer.echo(json.dumps(asdict(trial), indent=2))
    else:
        typer.echo(render(trial))
        typer.echo(f"Report: {page}")
    raise typer.Exit(exit_code(trial))
