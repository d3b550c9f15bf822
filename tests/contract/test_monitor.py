"""One suite for every monitor: what monitor.protocol.Monitor promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from conftest import eventually
from gridvisor.core.errors import Refused
from gridvisor.domain.model import Domain, OnEnd
from gridvisor.monitor.fake import FakeMonitor
from gridvisor.monitor.protocol import Attachment, DomainRow, Guest, Monitor, NoSuchDomain, State, VolumeUse


class Bench(Protocol):
    """A monitor on the bench, guests for it, and a way to make one crash."""

    monitor: Monitor
    guest_mib: int

    def guest(self, name: str, **wishes: object) -> Guest: ...

    def crash(self, name: str) -> None: ...


class FakeBench:
    guest_mib = 64

    def __init__(self, folder: Path) -> None:
        self.monitor = FakeMonitor(folder)

    def guest(self, name: str, **wishes: object) -> Guest:
        return Guest(
            Domain(name, memory_mib=self.guest_mib, **wishes), (Attachment(VolumeUse.ROOT, Path("/none"), True),)
        )  # type: ignore[arg-type]

    def crash(self, name: str) -> None:
        self.monitor.crash(name)


REAL = (pytest.param("uml", marks=pytest.mark.uml), pytest.param("xen", marks=pytest.mark.box))


@pytest.fixture(params=["fake", *REAL])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "fake":
        yield FakeBench(tmp_path)
        return
    real = request.getfixturevalue(f"{request.param}_bench")
    yield real
    for row in ours(real.monitor):
        real.monitor.destroy(row.name)


def ours(monitor: Monitor) -> list[DomainRow]:
    """The domains but for those that are not ours, which every Xen has."""
    return [row for row in monitor.list() if row.ours]


def row_of(monitor: Monitor, name: str) -> DomainRow | None:
    return next((row for row in monitor.list() if row.name == name), None)


def test_a_created_domain_is_listed_as_it_was_asked_for(bench: Bench) -> None:
    made = bench.monitor.create(bench.guest("a"))
    assert [row.name for row in ours(bench.monitor)] == ["a"]
    assert (made.name, made.memory_mib, made.state) == ("a", bench.guest_mib, State.RUNNING)
    assert bench.monitor.guest("a").domain.name == "a"
    assert [(row.name, guest) for row, guest in bench.monitor.guests()] == [("a", bench.monitor.guest("a"))]


def test_ids_are_never_used_again(bench: Bench) -> None:
    first = bench.monitor.create(bench.guest("a")).id
    bench.monitor.destroy("a")
    assert bench.monitor.create(bench.guest("a")).id > first


def test_a_name_that_is_taken_is_refused_and_nothing_changes(bench: Bench) -> None:
    before = bench.monitor.create(bench.guest("a"))
    with pytest.raises(Refused, match="'a' exists"):
        bench.monitor.create(bench.guest("a"))
    assert [row.id for row in ours(bench.monitor)] == [before.id]


def test_a_destroyed_domain_is_gone_and_its_name_is_free(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a"))
    bench.monitor.destroy("a")
    assert ours(bench.monitor) == []
    bench.monitor.create(bench.guest("a"))


def test_no_verb_knows_a_domain_that_is_not_there(bench: Bench) -> None:
    monitor = bench.monitor
    verbs = [monitor.destroy, monitor.shutdown, monitor.reboot, monitor.pause, monitor.unpause, monitor.console]
    for verb in [*verbs, monitor.guest, lambda name: monitor.rename(name, "b")]:
        with pytest.raises(NoSuchDomain, match="'nobody'"):
            verb("nobody")


def test_pause_and_unpause_may_be_said_twice(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a"))
    for verb, state in ((bench.monitor.pause, State.PAUSED), (bench.monitor.unpause, State.RUNNING)):
        for _ in range(2):
            verb("a")
            assert row_of(bench.monitor, "a").state is state


def test_a_domain_may_be_created_paused(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a"), paused=True)
    assert row_of(bench.monitor, "a").state is State.PAUSED
    bench.monitor.unpause("a")
    assert row_of(bench.monitor, "a").state is State.RUNNING


def test_a_paused_domain_cannot_be_asked_to_shut_down(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a"), paused=True)
    for verb in (bench.monitor.shutdown, bench.monitor.reboot):
        with pytest.raises(Refused, match="paused"):
            verb("a")


def test_a_domain_that_was_shut_down_goes(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a"))
    bench.monitor.shutdown("a")
    eventually(lambda: row_of(bench.monitor, "a") is None)


@pytest.mark.parametrize("bench", REAL, indirect=True)
def test_a_domain_whose_own_init_is_not_there_yet_is_shut_down_as_well(bench: Bench) -> None:
    # The initramfs waits two seconds for each of these, and says so.
    bench.monitor.create(bench.guest("a", extra=" ".join(f"gridvisor.swap=none{number}" for number in range(8))))
    eventually(lambda: b"no swap device /dev/none0" in bench.monitor.console_log("a"), seconds=60)
    bench.monitor.shutdown("a")
    eventually(lambda: row_of(bench.monitor, "a") is None)


def test_forget_is_for_those_that_are_gone(bench: Bench) -> None:
    bench.monitor.forget("nobody")
    bench.monitor.create(bench.guest("a"))
    bench.monitor.forget("a")
    assert bench.monitor.guest("a").domain.name == "a"
    bench.monitor.shutdown("a")
    eventually(lambda: row_of(bench.monitor, "a") is None)
    bench.monitor.forget("a")


def test_a_rebooted_domain_stays_and_begins_anew(bench: Bench) -> None:
    before = bench.monitor.create(bench.guest("a"))
    bench.monitor.reboot("a")

    def begun_anew() -> bool:
        # Xen makes another domain of the same name: between the two there is none, and it is paused until it is whole.
        row = row_of(bench.monitor, "a")
        return row is not None and row.since_s > before.since_s and row.state is State.RUNNING

    eventually(begun_anew)


def test_rename_keeps_the_domain(bench: Bench) -> None:
    before = bench.monitor.create(bench.guest("a"))
    bench.monitor.rename("a", "b")
    assert [(row.name, row.id) for row in ours(bench.monitor)] == [("b", before.id)]
    bench.monitor.pause("b")
    bench.monitor.create(bench.guest("a"))
    with pytest.raises(Refused, match="'b' exists"):
        bench.monitor.rename("a", "b")


def test_a_crashed_domain_is_seen_and_makes_way(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a"))
    bench.crash("a")
    eventually(lambda: row_of(bench.monitor, "a").state is State.CRASHED)
    with pytest.raises(Refused):
        bench.monitor.unpause("a")
    assert bench.monitor.create(bench.guest("a")).state is State.RUNNING


def test_a_preserved_crash_makes_no_way(bench: Bench) -> None:
    bench.monitor.create(bench.guest("a", on_crash=OnEnd.PRESERVE))
    bench.crash("a")
    eventually(lambda: row_of(bench.monitor, "a").state is State.CRASHED)
    with pytest.raises(Refused, match="preserved"):
        bench.monitor.create(bench.guest("a"))
    bench.monitor.destroy("a")
    assert ours(bench.monitor) == []


def test_many_domains_are_listed_by_their_ids(bench: Bench) -> None:
    for name in ("c", "a", "b"):
        bench.monitor.create(bench.guest(name))
    rows = ours(bench.monitor)
    assert [row.name for row in rows] == ["c", "a", "b"]
    assert [row.id for row in rows] == sorted(row.id for row in rows)
