"""Snapshots of a site that runs: all of it comes back, whatever was done meanwhile and however often we are killed."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from home import Home

pytestmark = pytest.mark.uml

UP_S = 600.0
KILLS = 3
SITE = """\
site: snapped
machines:
  se: {role: se, volumes: {data: 64MiB}}
  store: {role: se, volumes: {data: 64MiB}}
"""


@pytest.fixture(scope="module")
def site(shared_home: Home) -> Iterator[Path]:
    file = shared_home.folder / "snapped.yaml"
    file.write_text(SITE)
    shared_home.ok("up", file, timeout_s=UP_S)
    yield file
    shared_home.ok("destroy", "-y", "snapped")
    assert list((shared_home.places.state / "snapshots").glob("*/*")) == []


def on(home: Home, machine: str, command: str) -> str:
    return home.ok("ssh", "-s", "snapped", machine, "--", command)


def mark(home: Home, text: str) -> None:
    for machine in ("se", "store"):
        on(home, machine, f"echo {machine} {text} | tee /etc/mark /srv/data/mark")


def marks(home: Home) -> list[str]:
    return [on(home, machine, "cat /etc/mark /srv/data/mark") for machine in ("se", "store")]


def test_site_comes_back_as_it_was(shared_home: Home, site: Path) -> None:
    ids = [on(shared_home, machine, "cat /etc/machine-id") for machine in ("se", "store")]
    mark(shared_home, "first")
    shared_home.ok("snapshot", "snapped", "before")
    assert "already" in shared_home.refused("snapshot", "snapped", "before")
    [listed] = json.loads(shared_home.ok("snapshot", "list", "snapped", "-o", "json"))
    assert (listed["name"], sorted(listed["machine_ids"])) == ("before", ["se", "store"])
    mark(shared_home, "second")
    site.write_text(SITE + "  more: {role: se}\n")
    shared_home.ok("up", site)
    shared_home.ok("snapshot", "restore", "snapped", "before")
    assert marks(shared_home) == ["se first\n" * 2, "store first\n" * 2]
    assert [on(shared_home, machine, "cat /etc/machine-id") for machine in ("se", "store")] == ids
    found = json.loads(shared_home.ok("status", "snapped", "-o", "json"))["machines"]
    states = {one["name"]: one["state"] for one in found}
    assert states == {"se": "ready", "store": "ready"}
    assert shared_home.run("check", "--live", "snapped", "-k", "test_se or test_machine").returncode == 0


def test_guests_go_on_after_a_snapshot_and_when_one_is_killed(shared_home: Home, site: Path) -> None:
    for _ in range(KILLS):
        taking = shared_home.start("snapshot", "snapped", "killed")
        time.sleep(random.uniform(0.2, 0.9))
        taking.send_signal(signal.SIGKILL)
        taking.communicate()
        mark(shared_home, "third")  # would wait for ever on a file system that is frozen
        if shared_home.run("snapshot", "rm", "snapped", "killed").returncode:
            assert "killed" not in shared_home.ok("snapshot", "list", "snapped")
    shared_home.ok("snapshot", "snapped", "killed")
    shared_home.ok("snapshot", "rm", "snapped", "killed")


def test_a_restore_that_is_killed_is_refused_by_up_and_ended_by_another(shared_home: Home, site: Path) -> None:
    mark(shared_home, "before")
    shared_home.ok("snapshot", "snapped", "again")
    mark(shared_home, "after")
    broken_off = shared_home.places.state / "sites/snapped/restoring"
    for _ in range(KILLS):
        restoring = shared_home.start("snapshot", "restore", "snapped", "again")
        end = time.monotonic() + random.uniform(0.3, 1.0)
        while time.monotonic() < end and restoring.poll() is None:
            time.sleep(0.01)
            if broken_off.exists() and random.random() < 0.2:
                break
        restoring.send_signal(signal.SIGKILL)
        restoring.communicate()
        if broken_off.exists():
            assert "snapshot restore snapped again" in shared_home.refused("up", "snapped")
    shared_home.ok("snapshot", "restore", "snapped", "again")
    assert marks(shared_home) == ["se before\n" * 2, "store before\n" * 2]


def test_a_snapshot_keeps_its_images(shared_home: Home, site: Path) -> None:
    shared_home.ok("snapshot", "snapped", "keeps")
    found = json.loads(shared_home.ok("snapshot", "list", "-o", "json", "snapped"))
    [kept] = [one for one in found if one["name"] == "keeps"]
    image = Path(kept["volumes"]["se-disk"]).parent.name
    assert image in shared_home.refused("image", "rm", image)


def test_down_is_a_snapshot_as_well(shared_home: Home, site: Path) -> None:
    mark(shared_home, "asleep")
    shared_home.ok("down", "snapped")
    shared_home.ok("snapshot", "snapped", "asleep")
    shared_home.ok("snapshot", "restore", "snapped", "asleep")
    assert marks(shared_home) == ["se asleep\n" * 2, "store asleep\n" * 2]


def test_a_machine_with_the_disk_of_another_is_an_error(shared_home: Home, site: Path) -> None:
    shared_home.ok("snapshot", "snapped", "swapped")
    volumes = shared_home.places.state / "snapshots/snapped/swapped/volumes"
    disks = volumes / "se-disk/data", volumes / "store-disk/data"
    disks[0].rename(volumes / "between")
    disks[1].rename(disks[0])
    (volumes / "between").rename(disks[1])
    said = shared_home.refused("snapshot", "restore", "snapped", "swapped", status=3)
    assert "has the disk of another machine" in said
