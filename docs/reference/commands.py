"""Writes `commands.md` beside itself: each command's own help, as `gridvisor COMMAND --help` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from gridvisor.cli.main import app

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Commands

`make docs` writes this page from the commands' own help; `-h` after any command shows the same.
"""


def page() -> str:
    """The page's text."""
    gridvisor = typer.main.get_command(app)
    top = typer.Context(gridvisor, info_name="gridvisor", terminal_width=100, **gridvisor.context_settings)
    return "\n".join([HEAD, *_sections(top)])


def _sections(context: typer.Context) -> Iterator[str]:
    """The section of a command, and those of the commands below it that are not hidden."""
    # click caps the width at 80 unless it is told otherwise.
    context.max_content_width = context.terminal_width
    yield f"## {context.command_path}\n\n```text\n{context.command.get_help(context)}\n```\n"
    for name, command in getattr(context.command, "commands", {}).items():
        if not command.hidden:
            settings = {**command.context_settings, "parent": context, "info_name": name}
            yield from _sections(typer.Context(command, **settings))


if __name__ == "__main__":
    PAGE.write_text(page())
