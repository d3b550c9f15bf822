"""Which images must stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridvisor.app.image_use import images_in_use
from gridvisor.core.places import Places


@pytest.mark.parametrize(
    ("monitor", "in_use"),
    [
        ("uml", set()),
        (None, set()),
        ("xen+ssh://root@dom0", {"trixie-ui", "trixie-ce"}),
        ("box", {"trixie-ui", "trixie-ce"}),
    ],
)
def test_images_of_machines_on_another_host_stay(tmp_path: Path, monitor: str | None, in_use: set[str]) -> None:
    """Their volumes are not here, where one would see of what they are copies."""
    places = Places(tmp_path / "cache", tmp_path / "state")
    for name in ("trixie-ui", "trixie-ce", "trixie-se"):
        folder = places.cache / "images" / name
        folder.mkdir(parents=True)
        facts = {"id": name, "name": name, "suite": "trixie", "size_bytes": 1, "used_bytes": 1, "packages": []}
        (folder / "image.json").write_text(json.dumps({**facts, "built_at": 1.0, "network": None, "has_init": True}))
    site = places.state / "sites/far"
    site.mkdir(parents=True)
    (site / "site.yaml").write_text("site: far\nmachines: {ui: , ce: }\n")
    if monitor is not None:
        (site / "monitor").write_text(f"{monitor}\n")
    assert images_in_use(places) == in_use
