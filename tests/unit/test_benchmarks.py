"""What a benchmark compares with must be the same thing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from gridvisor.app.image import BASE
from gridvisor.core.places import Places
from gridvisor.image.store import Image, ImageStore

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _modules_of_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They find each other by the folder of the one that is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_a_benchmark_loads_and_measures_nothing_by_that(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(name)
    assert capsys.readouterr().out == ""


def test_the_guest_by_hand_has_the_base_image_and_not_that_of_a_role(tmp_path: Path) -> None:
    benchmark = importlib.import_module("first_machine")
    places = Places(tmp_path / "cache", tmp_path / "state")
    store = ImageStore(places)
    for built_at, (image_id, name) in enumerate((("a1", "trixie-ce"), ("b2", BASE), ("c3", BASE), ("d4", "trixie-ui"))):
        folder = store.new_build_folder(image_id)
        (folder / "root.img").touch()
        disk = store.disk_of(image_id)
        store.publish(folder, Image(image_id, name, "trixie", disk, 0, 0, (), float(built_at), None, has_init=True))
    assert benchmark.base_disk(places) == store.disk_of("c3")
