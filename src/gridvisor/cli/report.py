"""`gridvisor report`: what came of trials."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gridvisor.cli.context import Output, open_host, places
from gridvisor.cli.site import OutputOption
from gridvisor.cli.table import columns
from gridvisor.core.errors import Refused
from gridvisor.core.printable import printable

if TYPE_CHECKING:
    from gridvisor.trial.model import Trial
    from gridvisor.trial.store import TrialStore

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at what came of trials.",
    epilog="Example: gridvisor report list; gridvisor report show -o html",
)

_FIRST = "gridvisor verify SITE --candidate FILE"  # how one comes about


class Report(StrEnum):
    """The forms that a trial can be shown in."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"
    JUNIT = "junit"


def _trials() -> list[Path]:
    return sorted(
        (path.parent for path in (places().state / "trials").glob("[!.]*/[!.]*/trial.json")),
        key=lambda folder: folder.name,
        reverse=True,
    )


def _ids() -> list[str]:
    return [folder.name for folder in _trials()]


def _sites() -> list[str]:
    return sorted({folder.parent.name for folder in _trials()})


Id = Annotated[str, typer.Argument(metavar="ID", help="A trial, as list names it.", autocompletion=_ids)]


@app.command("list", epilog="Example: gridvisor report list kiam-test")
def list_(
    site: Annotated[
        str | None, typer.Argument(metavar="[SITE]", help="Only trials of this site.", autocompletion=_sites)
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the trials, newest first."""
    from gridvisor.report.words import headline, moment, took

    store = _store()
    found = store.list(site)
    if site is not None and not found:
        sites = ", ".join(sorted({one.site for one in store.list()}))
        raise Refused(f"There is no trial of a site '{site}'.", hint=f"there are of: {sites}" if sites else _FIRST)
    if output is Output.JSON:
        facts = [
            {
                "id": one.id,
                "site": one.site,
                "candidate": one.candidate,
                "verdict": one.verdict,
                "began_s": one.began_s,
                "ended_s": one.ended_s,
            }
            for one in found
        ]
        typer.echo(json.dumps(facts, indent=2))
        return
    rows = [
        (one.id, one.site, printable(one.candidate), moment(one.began_s), took(one), headline(one)) for one in found
    ]
    typer.echo(columns(("TRIAL", "SITE", "CANDIDATE", "BEGAN", "TOOK", "VERDICT"), rows, right="TOOK"))


@app.command(epilog="Example: gridvisor report show -o html")
def show(
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A trial; the newest one.", autocompletion=_ids)
    ] = None,
    output: Annotated[Report, typer.Option("--output", "-o", help="In which form.")] = Report.TEXT,
) -> None:
    """Show a trial.

    With -o html its page is written anew, beside its evidence, and the path is printed. The exit code does not tell of
    the verdict: that of verify does.
    """
    from gridvisor.report import junit, text
    from gridvisor.report.files import write_reports
    from gridvisor.trial.store import to_json

    store = _store()
    trial = _newest(store) if id is None else store.read(id)
    match output:
        case Report.TEXT:
            typer.echo(text.render(trial))
        case Report.JSON:
            typer.echo(to_json(trial).decode(), nl=False)
        case Report.JUNIT:
            typer.echo(junit.render(trial), nl=False)
        case Report.HTML:
            typer.echo(str(write_reports(trial, store.folder_of(trial))))


@app.command(epilog="Example: gridvisor report rm 20261122-164500-sid")
def rm(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Trials, as list names them.", autocompletion=_ids)],
) -> None:
    """Remove trials, with their reports and evidence."""
    for id in ids:
        _store().remove(id)


@app.command(epilog="Example: gridvisor report compare 20261122-164500-sid 20261123-164500-sid")
def compare(first: Id, second: Id, output: OutputOption = Output.TEXT) -> None:
    """Say what differs between two trials.

    Their verdicts, findings, probes, medians of the candidates' measures, and versions. Probes are compared where both
    trials asked them.
    """
    from gridvisor.report import comparison

    store = _store()
    one, other = store.read(first), store.read(second)
    found = comparison.compare(one, other)
    if output is Output.JSON:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        typer.echo(comparison.render(found, one, other))


def _store() -> TrialStore:
    from gridvisor.trial.store import TrialStore

    return TrialStore(open_host().places)


def _newest(store: TrialStore) -> Trial:
    if trials := store.list():
        return trials[0]
    raise Refused("There is no trial yet.", hint=_FIRST)
