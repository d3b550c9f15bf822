"""Imports point one way, downwards, and say so openly: at the top of the file, without cycles."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"

# Lowest first. A module may import from its own layer and from those before it.
LAYERS = (
    *("core", "run", "domain", "package", "identity", "network", "site", "roles"),
    *("image", "kernel", "storage", "monitor", "release", "app", "probe", "trial", "report", "cli"),
)
# `gridvisor domain list` must answer in 0.3 s, so a command imports what it alone needs when it is called
# (and names its types under TYPE_CHECKING). That hides nothing: these imports are checked for arrows like all others.
MAY_IMPORT_LATE = "gridvisor.cli"


def test_our_imports_keep_the_rules() -> None:
    assert list(broken_rules(SOURCE)) == []


def test_every_layer_is_in_the_list() -> None:
    found = {path.name for path in (SOURCE / "gridvisor").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found <= set(LAYERS)


def test_those_who_contribute_are_told_the_same_order() -> None:
    rules = " ".join((SOURCE.parent / "CONTRIBUTING.md").read_text().split())
    assert f"`{' < '.join(LAYERS)}`" in rules


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"core/a.py": "from gridvisor.run.b import B", "run/b.py": ""}, "upward"),
        ({"core/a.py": "import gridvisor.run.b", "run/b.py": ""}, "upward"),
        ({"core/a.py": "from gridvisor.run import b", "run/b.py": ""}, "upward"),
        ({"core/a.py": "from gridvisor.core import b", "core/b.py": "from gridvisor.core import a"}, "cycle"),
        ({"core/a.py": "from .b import B", "core/b.py": ""}, "relative"),
        ({"core/a.py": "def f():\n    import gridvisor.core.b", "core/b.py": ""}, "inside a function"),
        ({"core/a.py": "from typing import TYPE_CHECKING"}, "TYPE_CHECKING"),
        ({"core/a.py": "import typing\nif typing.TYPE_CHECKING: pass"}, "TYPE_CHECKING"),
        ({"app/a.py": "", "cli/b.py": "def f():\n    from gridvisor.app import a"}, None),
        ({"run/b.py": "", "cli/a.py": "from gridvisor.run import b"}, None),
    ],
)
def test_rule(tmp_path: Path, files: dict[str, str], complaint: str | None) -> None:
    for name, text in files.items():
        path = tmp_path / "gridvisor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = list(broken_rules(tmp_path))
    if complaint is None:
        assert found == []
    else:
        assert [text for text in found if complaint in text]


def broken_rules(source: Path) -> Iterator[str]:
    """One line for every import below `source` that breaks a rule."""
    trees = {module_name(source, path): ast.parse(path.read_text()) for path in sorted(source.rglob("*.py"))}
    arrows: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        late = {id(node) for function in functions(tree) for node in ast.walk(function)}
        for node in ast.walk(tree):
            place = f"{name}:{getattr(node, 'lineno', 0)}"
            if "TYPE_CHECKING" in names_in(node) and not name.startswith(MAY_IMPORT_LATE):
                yield f"{place}: TYPE_CHECKING hides a cycle"
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{place}: a relative import"
            for target in imported(node, trees):
                if layer(target) > layer(name):
                    yield f"{place}: an upward arrow, to {target}"
                if id(node) in late and not name.startswith(MAY_IMPORT_LATE):
                    yield f"{place}: imports {target} inside a function"
                if id(node) not in late:
                    arrows[name].add(target)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        yield "a cycle: " + " -> ".join(error.args[1])


def functions(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def module_name(source: Path, path: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def imported(node: ast.AST, modules: Collection[str]) -> Iterator[str]:
    """The modules of ours that `node` imports; `from package import name` means the module where there is one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "gridvisor")
    elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gridvisor":
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in modules else node.module


def layer(module: str) -> int:
    """The height of a module; the package itself (its version) lies below all, `python -m gridvisor` above all."""
    parts = module.split(".")
    if parts[1:] == ["__main__"]:
        return len(LAYERS)
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else -1


def names_in(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return {name}
        case _:
            return set()
