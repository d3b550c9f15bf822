"""Whether a domain fits, and the sum that is shown when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.app.capacity import (
    GUEST_OVERHEAD_MIB,
    HOST_RESERVE_MIB,
    Room,
    check_disk,
    check_memory,
    outstanding_mib,
    room,
)
from gridvisor.core.errors import Refused
from gridvisor.monitor.protocol import DomainRow, State

AROUND_MIB = HOST_RESERVE_MIB + GUEST_OVERHEAD_MIB


def row(memory_mib: int, held_mib: int, state: State = State.RUNNING) -> DomainRow:
    return DomainRow("vm", 1, memory_mib, 1, state, 0.0, 0.0, held_mib)


def test_room_is_that_of_the_folder_even_before_it_is_there(tmp_path: Path) -> None:
    has = room(tmp_path / "not" / "yet")
    assert has.memory_mib > 0
    assert has.disk_bytes > 0
    assert not (tmp_path / "not").exists()


def test_live_domains_were_promised_what_they_do_not_hold_yet() -> None:
    assert outstanding_mib([]) == 0
    assert outstanding_mib([row(256, 100)]) == 156 + GUEST_OVERHEAD_MIB
    assert outstanding_mib([row(256, 100), row(128, 0, State.PAUSED)]) == 156 + 128 + 2 * GUEST_OVERHEAD_MIB
    assert outstanding_mib([row(256, 0, State.CRASHED)]) == 0
    assert outstanding_mib([row(100, 500), row(100, 0)]) == 100 + GUEST_OVERHEAD_MIB, "one's excess is not another's"


def test_a_guest_fits_to_the_last_mib() -> None:
    has = Room(256 + AROUND_MIB + 50, 0)
    check_memory(256, has=has, outstanding=50)
    with pytest.raises(Refused):
        check_memory(257, has=has, outstanding=50)


def test_the_refusal_shows_the_sum_and_what_would_fit() -> None:
    has = Room(1000, 0)
    with pytest.raises(Refused) as refused:
        check_memory(2048, has=has, outstanding=100)
    left_mib = 1000 - HOST_RESERVE_MIB - 100
    for number in (2048, GUEST_OVERHEAD_MIB, 1000, HOST_RESERVE_MIB, 100, left_mib):
        assert f"{number}" in refused.value.message
    fits_mib = left_mib - GUEST_OVERHEAD_MIB
    assert refused.value.hint is not None
    assert f"memory={fits_mib}" in refused.value.hint
    check_memory(fits_mib, has=has, outstanding=100)


@pytest.mark.parametrize("outstanding", [900, 5000])
def test_when_nothing_fits_no_size_is_offered(outstanding: int) -> None:
    with pytest.raises(Refused) as refused:
        check_memory(64, has=Room(1000, 0), outstanding=outstanding)
    assert "memory=" not in (refused.value.hint or "")
    assert "-" not in refused.value.message


def test_volumes_may_fill_the_disk_and_no_more(tmp_path: Path) -> None:
    has = Room(0, 3 << 30)
    check_disk(3 << 30, has=has, unless="a wish")
    with pytest.raises(Refused, match=r"5 GiB.*3 GiB free") as refused:
        check_disk(5 << 30, has=has, unless="a wish")
    assert "or a wish" in (refused.value.hint or "")
