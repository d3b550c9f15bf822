"""What LVM says, as it was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.core.errors import ToolOutput
from gridvisor.storage.lvm import parse_lvs, parse_segments
from gridvisor.storage.placement import Spot

DATA = Path(__file__).parent.parent / "data" / "lvm"


def test_a_physical_volume_has_what_is_on_it_and_its_room_is_no_volume() -> None:
    said = (DATA / "pvs-segments-2.03.31.json").read_text()
    assert parse_segments(said) == (Spot("/dev/vdd", 88080384, ("[lvol0_pmspare]", "[thin_tdata]", "[thin_tmeta]")),)


@pytest.mark.parametrize("said", ["", "no json", "[]", '{"report": []}', '{"report": [{"pvseg": [{"pv_name": 1}]}]}'])
def test_what_cannot_be_read_is_told(said: str) -> None:
    with pytest.raises(ToolOutput, match="What pvs says cannot be read"):
        parse_segments(said)
    with pytest.raises(ToolOutput, match="What lvs says cannot be read"):
        parse_lvs(said)
