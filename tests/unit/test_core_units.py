from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridvisor.core.units import counted, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("256M", 256 << 20),
        ("2GiB", 2 << 30),
        (" 1.5 g ", 3 << 29),
        ("10KB", 10 << 10),
        ("1t", 1 << 40),
        ("512b", 512),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "-1", "1e9", "1,5G", "1 P", "2GiBs", "0x10", "1" * 16, ".5G", "٣", "1 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@given(st.integers(0, 10**15 - 1))
def test_bytes_are_read_exactly(size_bytes: int) -> None:
    assert parse_size(str(size_bytes)) == size_bytes


@given(st.integers(1, 1023), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_whole_units_come_back(number: int, unit: str) -> None:
    size_bytes = parse_size(f"{number} {unit}")
    assert format_size(size_bytes) == f"{number} {unit}"
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.integers(0, 1 << 50))
def test_what_is_shown_is_off_by_less_than_a_tenth_of_its_unit(size_bytes: int) -> None:
    shown = format_size(size_bytes)
    assert abs(parse_size(shown) - size_bytes) * 10 < parse_size("1" + shown.split()[1]) or shown.endswith(" B")


def test_one_thing_is_told_from_several() -> None:
    assert [counted(count, "probe") for count in (0, 1, 2)] == ["0 probes", "1 probe", "2 probes"]
