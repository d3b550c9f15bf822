"""Which ports take a connection, asked by the program that guests run."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import testinfra

from gridvisor.probe.reach import reached


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def shut() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_open_ports_are_told_and_refused_ones_are_not(listening: int, shut: int) -> None:
    wanted = {"se:xrootd": ("127.0.0.1", listening), "se:ssh": ("127.0.0.1", shut)}
    assert reached(testinfra.get_host("local://"), wanted) == {"se:xrootd"}


def test_what_is_silent_is_not_waited_for_long(listening: int) -> None:
    with socket.socket() as full:  # of a queue that is full, Linux drops what comes: nobody answers
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            wanted = {"open": ("127.0.0.1", listening), "silent": ("127.0.0.1", full.getsockname()[1])}
            assert reached(testinfra.get_host("local://"), wanted) == {"open"}


def test_nothing_to_try_reaches_nothing() -> None:
    assert reached(testinfra.get_host("local://"), {}) == set()
