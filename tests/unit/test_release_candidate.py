"""The candidate's file: what it may say, and where it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gridvisor.core.errors import InputError
from gridvisor.release.candidate import CandidateFile, Repository, Source, read_candidate
from gridvisor.site.document import parse_document
from gridvisor.trial.known import parse_known

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/candidates"


def written(folder: Path, text: str) -> Path:
    file = folder / "candidate.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_ones_are_fine(file: Path) -> None:
    candidate = read_candidate(file)
    assert candidate.name == file.stem
    assert candidate.summary


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs/a_1_all.deb").touch()
    (tmp_path / "key.asc").touch()
    (tmp_path / "roles/se/tree/etc").mkdir(parents=True)
    file = written(
        tmp_path,
        """
candidate: next
summary: All of it
packages:
  - {suite: sid, match: ["xrootd-*"]}
  - {suite: sid, versions: {munge: 0.5.18-1}}
  - {folder: ./debs}
  - repository: https://repo.example.org/debian/
    suite: trixie
    components: [main, next]
    key: ./key.asc
    match: [bdii]
roles: ./roles
order: [ce, se]
""",
    )
    candidate = read_candidate(file)
    assert candidate.order == ("ce", "se")
    assert candidate.roles == tmp_path / "roles"
    assert candidate.folders == (tmp_path / "debs", tmp_path / "roles")
    assert candidate.packages == (
        Source("sid", None, ("xrootd-*",), {}),
        Source("sid", None, (), {"munge": "0.5.18-1"}),
        Source(None, tmp_path / "debs", ("*",), {}),
        Source(
            "trixie",
            None,
            ("bdii",),
            {},
            Repository("https://repo.example.org/debian", ("main", "next"), tmp_path / "key.asc"),
        ),
    )


def test_the_samples_of_the_reference_page_are_read() -> None:
    page = (EXAMPLES.parents[1] / "docs/reference/candidate-file.md").read_text()
    candidate, known = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(parse_document(candidate.encode(), CandidateFile, "candidate.yaml").value.packages) == 4
    assert len(parse_known(known.encode(), "known.yaml")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("candidate: a\n", "nothing is on trial"),
        ("candidate: a\npackages: [{suite: sid}]\n", "name them with 'match' or 'versions'"),
        ("candidate: a\npackages: [{repository: 'http://x/d', suite: sid, match: [b]}]\n", "a 'key' that signs it"),
        ("candidate: a\npackages: [{suite: sid, key: k, match: [b]}]\n", "are those of a 'repository'"),
        ("candidate: a\npackages: [{repository: 'http://x/d', suite: s, key: k, match: [b]}]\n", "there is no file"),
        ("candidate: a\npackages: [{repository: 'x y', suite: sid, key: k, match: [b]}]\n", "repository"),
        ("candidate: a\npackages: [{suite: sid, folder: x, match: [a]}]\n", "from a 'suite' or from a 'folder'"),
        ("candidate: a\npackages: [{folder: x, versions: {aa: '1'}}]\n", "'versions' go with a 'suite'"),
        ("candidate: a\npackages: [{folder: gone}]\n", "candidate.yaml:2:21: there is no folder"),
        ("candidate: a\nroles: gone\n", "candidate.yaml:2:8: there is no folder"),
        ("candidate: a\npackages: [{suite: sid, match: ['--x']}]\n", "candidate.yaml:2:33"),
        ("- candidate: a\n", "candidate.yaml:1:1: a mapping is wanted, not a list"),
        ("candidate: 0.5\nroles: .\n", "put it in quotes"),
        ("candidate: A\nroles: .\n", "'A' is not a name of small letters"),
        ("candidate: a\npackages: [{suite: sid, match: [Foo]}]\n", "'Foo' is not a package's name"),
        ("candidate: a\npackages: [{suite: sid, versions: {AB: '1'}}]\n", "'AB' is not a package's name"),
        ("candidate: a\npackages: [{suite: sid, versions: {aa: '1 0'}}]\n", "'1 0' is not a version such as"),
        ("candidate: a\nroles: .\nordr: [se]\n", "did you mean 'order'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        read_candidate(written(tmp_path, text))
    assert said in str(raised.value)


def test_a_wrong_role_file_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "roles/se").mkdir(parents=True)
    (tmp_path / "roles/se/role.yaml").write_text("memory: much\n")
    with pytest.raises(InputError, match=r"role\.yaml:1:9"):
        read_candidate(written(tmp_path, "candidate: a\nroles: roles\n"))


def test_a_source_asks_for_what_it_matches_and_what_it_has_versions_of() -> None:
    source = Source("sid", None, ("xrootd-*",), {"munge": "1"})
    assert [name for name in ("xrootd-server", "munge", "libxrdcl3", "munge-dev") if source.asks(name)] == [
        "xrootd-server",
        "munge",
    ]
