"""Users and VOs keep their numeric ids when the site file changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.app.site.ids import ids_of, keep_ids
from gridvisor.site.model import Site


def site(*users: str, vos: tuple[str, ...] = ("dteam",)) -> Site:
    told = [{"name": name, "vo": vos[0]} for name in users]
    return Site.model_validate({"site": "a", "vos": list(vos), "users": told, "machines": {"ui": {}}})


def test_ids_are_by_position_at_first(tmp_path: Path) -> None:
    ids = ids_of(tmp_path, site("ada", "ben", vos=("dteam", "ops")))
    assert (ids.users, ids.vos) == ({"ada": 2001, "ben": 2002}, {"dteam": 3001, "ops": 3002})


def test_who_stays_keeps_an_id_and_who_is_new_gets_one_that_nobody_had(tmp_path: Path) -> None:
    keep_ids(tmp_path, ids_of(tmp_path, site("ada", "ben", vos=("dteam", "ops"))))
    keep_ids(tmp_path, ids_of(tmp_path, site("ben", vos=("ops",))))
    ids = ids_of(tmp_path, site("eve", "ben", "ada", vos=("atlas", "ops")))
    assert (ids.users["ben"], ids.users["eve"], ids.users["ada"]) == (2002, 2003, 2001)
    assert (ids.vos["ops"], ids.vos["atlas"]) == (3002, 3003)


@pytest.mark.parametrize("text", ["", "{"])
def test_what_cannot_be_read_counts_as_nothing_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.json").write_text(text)
    assert ids_of(tmp_path, site("ada")).users == {"ada": 2001}
