"""What the project says about itself is true: links lead somewhere, examples exist, nothing names one machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = (".ci", "benchmarks", "changelog.d", "docs", "examples", "setup", "src", "tests")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FRAGMENT = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md")
NEED = re.compile(r"(?P<package>[a-z0-9.+-]+)\s+(?P<proof>[a-z0-9_-]+|/\S+)\s+(?P<why>\S.*)")


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project that is ours, by its path below the root."""
    for path in (*ROOT.glob("*"), *(path for part in PARTS for path in (ROOT / part).rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            if b"\0" not in data:
                yield path.relative_to(ROOT), data.decode()


def pages() -> list[Path]:
    return [path for path, _ in texts() if path.suffix == ".md"]


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text()
    for target in LINK.findall(text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        aim = (ROOT / page.parent / file).resolve() if file else ROOT / page
        assert aim.exists(), f"{page} links to '{target}'"
        if anchor:
            assert anchor in anchors(aim.read_text()), f"{page} links to '{target}'"


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown page, made from its headings as code forges make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_of_the_docs_can_be_reached() -> None:
    docs = ROOT / "docs"
    seen: set[Path] = set()
    left = [docs / "index.md"]
    while left:
        page = left.pop()
        if page not in seen and page.suffix == ".md" and page.is_file():
            seen.add(page)
            left += [(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(page.read_text())]
    assert sorted(str(path) for path in set(docs.rglob("*.md")) - seen) == []


def test_examples_that_pages_name_exist() -> None:
    named = {name for page in pages() for name in re.findall(r"\bexamples/[\w./-]*\w", (ROOT / page).read_text())}
    assert named, "the README starts from an example"
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_changelog_fragments_are_well_formed() -> None:
    for path in (ROOT / "changelog.d").iterdir():
        if path.name == "README.md":
            continue
        assert FRAGMENT.fullmatch(path.name), f"'{path.name}' is not NAME.(added|changed|fixed|removed).md"
        text = path.read_text()
        assert text.strip().endswith("."), f"'{path.name}' is not a whole sentence"
        assert "\n\n" not in text, f"'{path.name}' has more than one paragraph"


# Written in pieces, so that this file does not hold what it looks for.
@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(deb|ftp|snapshot|security|httpredir)\.debian" + r"\.org",
        r"\bpypi\." + r"org|pythonhosted\." + r"org",
        r"/home/(?!user\b)[a-z]" + r"[a-z0-9]*/",
        re.escape(f"{ROOT}/"),
    ],
)
def test_nothing_names_a_mirror_or_somebodys_folder(pattern: str) -> None:
    found = [f"{path}: {match[0]}" for path, text in texts() for match in re.finditer(pattern, text)]
    assert found == []


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert re.search(r"\bmake test\b", (ROOT / ".ci" / "run").read_text())


def test_menu_names_every_target() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make here")
    menu = subprocess.run([make, "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert target == "menu" or re.search(rf"^  make {target}\s+\S", menu, re.MULTILINE), target


def test_needs_have_a_package_a_proof_and_a_reason() -> None:
    lines = (ROOT / "src" / "gridvisor" / "app" / "needs.txt").read_text().splitlines()
    needs = [line for line in lines if line and not line.startswith("#")]
    assert needs
    for line in needs:
        assert NEED.fullmatch(line), line


def test_every_dependency_has_its_reason_written_down() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = [re.match(r"[\w.-]+", requirement)[0] for requirement in wanted]  # type: ignore[index]
    needs = (ROOT / "src" / "gridvisor" / "app" / "needs.txt").read_text()
    names += re.findall(r"^(?!#)(\S+)", needs, re.MULTILINE)
    page = (ROOT / "docs" / "decisions" / "0006-dependencies.md").read_text()
    assert [name for name in names if f"`{name}`" not in page] == []
