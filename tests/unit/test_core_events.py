from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from gridvisor.core.events import Bus, Event, JsonLines, Kind


def test_a_step_is_told_to_every_sink() -> None:
    one: list[Event] = []
    two: list[Event] = []
    with Bus(one.append, two.append).step("boot", where="vm1"):
        assert [event.kind for event in one] == [Kind.STARTED]
    assert one == two
    assert [(e.kind, e.step, e.where) for e in one] == [(Kind.STARTED, "boot", "vm1"), (Kind.DONE, "boot", "vm1")]
    assert one[0].seconds is None
    assert one[1].seconds is not None
    assert one[1].seconds >= 0


@pytest.mark.parametrize("error", [ValueError("broke"), KeyboardInterrupt("broke")])
def test_a_step_that_fails_is_told_and_the_error_passes(error: BaseException) -> None:
    seen: list[Event] = []
    with pytest.raises(type(error)), Bus(seen.append).step("boot"):
        raise error
    assert [(event.kind, event.detail) for event in seen] == [(Kind.STARTED, ""), (Kind.FAILED, "broke")]


def test_notes_and_warnings() -> None:
    seen: list[Event] = []
    bus = Bus(seen.append)
    bus.note("a", where="x")
    bus.warn("b")
    assert [(event.kind, event.step, event.where) for event in seen] == [(Kind.NOTE, "a", "x"), (Kind.WARNING, "b", "")]


def test_json_lines_appends_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    Bus(JsonLines(path)).note("first\nline ü")
    Bus(JsonLines(path)).warn("second")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["kind"], row["step"]) for row in rows] == [("note", "first\nline ü"), ("warning", "second")]
    assert set(rows[0]) == {"kind", "step", "where", "detail", "seconds", "at_s"}


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    bus = Bus(JsonLines(path))
    threads = [threading.Thread(target=lambda: [bus.note("x" * 5000) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == ["x" * 5000] * 160
