"""What of an image is copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.storage.filling import data_runs

MIB = 1 << 20


@pytest.mark.parametrize(
    ("written", "size", "runs"),
    [
        ([], 0, []),
        ([], 8 * MIB, []),
        ([0], 8 * MIB, [(0, 1)]),
        ([5 * MIB], 8 * MIB, [(5, 1)]),
        ([0, MIB, 3 * MIB], 8 * MIB, [(0, 2), (3, 1)]),
        ([MIB - 4096, MIB], 8 * MIB, [(0, 2)]),
        ([8 * MIB], 8 * MIB + 4096, [(8, 1)]),
    ],
)
def test_runs_are_whole_blocks_and_hold_all_data(
    tmp_path: Path, written: list[int], size: int, runs: list[tuple[int, int]]
) -> None:
    """Of 4096 bytes each, as file systems have them; at the end there may be less than a block."""
    image = tmp_path / "root.img"
    with image.open("wb") as file:
        file.truncate(size)
        for at in written:
            file.seek(at)
            file.write(b"x" * 4096)
    assert data_runs(image, MIB) == runs
