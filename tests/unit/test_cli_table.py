"""Tables: `xl list`'s own, byte for byte, and ours."""

from __future__ import annotations

import pytest

from gridvisor.cli.table import columns, xl_list
from gridvisor.monitor.protocol import DomainRow, State

HEAD = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
# The formats of Xen's own printf, for one row.
XL_ROW = "%-40s %5d %5d %5d     %s  %8.1f"


def row(name: str = "vm1", state: State = State.RUNNING, **facts: int | float) -> DomainRow:
    given = {"id": 1, "memory_mib": 256, "vcpus": 1, "cpu_s": 2.55, "since_s": 0.0, **facts}
    return DomainRow(name, state=state, **given)  # type: ignore[arg-type]


def test_no_domain_leaves_the_head() -> None:
    assert xl_list([]) == HEAD


def test_a_row_stands_as_xl_prints_it() -> None:
    assert xl_list([row()]) == (
        f"{HEAD}\nvm1                                          1   256     1     r-----       2.5"
    )


@pytest.mark.parametrize(
    ("state", "flags"),
    [(State.RUNNING, "r-----"), (State.PAUSED, "--p---"), (State.SHUTDOWN, "---s--"), (State.CRASHED, "----c-")],
)
@pytest.mark.parametrize("name", ["a", "n" * 40, "n" * 63])
@pytest.mark.parametrize("number", [0, 7, 99999, 1234567])
def test_every_row_is_what_printf_makes_of_it(state: State, flags: str, name: str, number: int) -> None:
    cpu_s = number * 1.25
    one = row(name, state, id=number, memory_mib=number, vcpus=number, cpu_s=cpu_s)
    assert xl_list([one]).splitlines()[1] == XL_ROW % (name, number, number, number, flags, cpu_s)


def test_every_state_has_its_letter() -> None:
    assert len({xl_list([row(state=state)]) for state in State}) == len(State)


def test_columns_line_up_to_the_left_and_to_the_right() -> None:
    table = columns(("NAME", "SIZE", "USER"), [("a", "10 GiB", "-"), ("longer", "1 B", "vm1")], right="SIZE")
    assert table.splitlines() == [
        "NAME      SIZE  USER",
        "a       10 GiB  -",
        "longer     1 B  vm1",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert columns(("A", "B"), []) == "A  B"
