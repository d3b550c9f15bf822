"""A role's trees as the files of one machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from jinja2 import Environment, StrictUndefined, TemplateError, TemplateSyntaxError

from gridvisor.core.errors import InputError, Problem, Span
from gridvisor.identity.model import IdentityEntry, IdentityFile, IdentityLink
from gridvisor.roles.context import Context
from gridvisor.site.role import Role

_TEMPLATE = ".j2"
# Text that we write is configuration, never HTML.
_JINJA = Environment(
    autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def render(role: Role, context: Context) -> tuple[IdentityEntry, ...]:
    """The entries of a machine of that role, sorted by path: templates rendered, all else as it lies there.

    All belong to root: 0755 where git keeps an executable bit, 0600 for what the role calls private, else 0644.
    Raises InputError with every template that cannot be rendered, at its line.
    """
    problems: list[Problem] = []
    entries: list[IdentityEntry] = []
    names = context.names()
    for path, source in sorted(_files(role.trees).items()):
        if source.is_symlink():
            entries.append(IdentityLink(path, str(source.readlink())))
            continue
        content = source.read_bytes()
        if source.name.endswith(_TEMPLATE):
            try:
                content = _JINJA.from_string(content.decode()).render(names).encode()
            except (TemplateError, UnicodeDecodeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
                problems.append(Problem(Span(str(source), _line(error), 1), f"cannot be rendered: {error}"))
        entries.append(IdentityFile(path, content, _mode(path, source, role)))
    if problems:
        raise InputError(problems)
    return tuple(entries)


def _files(trees: Iterable[Path]) -> dict[str, Path]:
    """Path in the guest → file; of several trees the last one that has a file gives it, template or not."""
    return {path: source for tree in trees for path, source in _files_of(tree)}


def _files_of(tree: Path) -> Iterator[tuple[str, Path]]:
    for source in tree.rglob("*"):
        if source.is_symlink() or source.is_file():
            path = str(PurePosixPath("/") / source.relative_to(tree).as_posix())
            yield path.removesuffix(_TEMPLATE) if not source.is_symlink() else path, source


def _mode(path: str, source: Path, role: Role) -> int:
    if path in role.private:
        return 0o600
    return 0o755 if source.stat().st_mode & 0o100 else 0o644


def _line(error: Exception) -> int:
    """The line of a template in which `error` arose: Jinja2 names it in syntax errors, else its traceback does."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
