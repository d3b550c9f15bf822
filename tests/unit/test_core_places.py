"""Where files are kept, for root, for others, and where the user says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.core.places import Places


@pytest.mark.parametrize(
    ("environ", "uid", "cache", "state"),
    [
        ({}, 0, "/var/cache/gridvisor", "/var/lib/gridvisor"),
        ({"HOME": "/root", "XDG_CACHE_HOME": "/x"}, 0, "/var/cache/gridvisor", "/var/lib/gridvisor"),
        ({"GRIDVISOR_HOME": "/h"}, 0, "/h/cache", "/h/state"),
        ({"GRIDVISOR_HOME": "/h", "XDG_STATE_HOME": "/x"}, 7, "/h/cache", "/h/state"),
        ({"HOME": "/u"}, 7, "/u/.cache/gridvisor", "/u/.local/state/gridvisor"),
        ({"HOME": "/u", "GRIDVISOR_HOME": ""}, 7, "/u/.cache/gridvisor", "/u/.local/state/gridvisor"),
        ({"HOME": "/u", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, 7, "/c/gridvisor", "/s/gridvisor"),
        (
            {"HOME": "/u", "XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""},
            7,
            "/u/.cache/gridvisor",
            "/u/.local/state/gridvisor",
        ),
    ],
)
def test_the_two_roots(environ: dict[str, str], uid: int, cache: str, state: str) -> None:
    assert Places.of(environ, uid=uid) == Places(Path(cache), Path(state))


def test_a_home_may_be_named_from_where_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Places.of({"GRIDVISOR_HOME": "here"}, uid=0).state == tmp_path / "here" / "state"


def test_the_tag_is_six_hex_digits_that_the_state_folder_alone_decides() -> None:
    tag = Places(Path("/c"), Path("/s")).tag
    assert len(tag) == 6
    assert int(tag, 16) >= 0
    assert Places(Path("/other"), Path("/s")).tag == tag
    assert Places(Path("/c"), Path("/s2")).tag != tag
