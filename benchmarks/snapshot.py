"""How long a snapshot of a whole site takes, and a restore until its services answer, beside doing it without.

Run as root on a machine that is otherwise idle:  make bench
Prints medians (and least to most) of whole commands. Without it one stops the site, copies all of its disks, and starts
it; to go back, one copies them again. Images are warm, and no copy has an image in it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from figures import show, timed
from grid_site import Bench

from gridvisor.core.places import Places

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SITE, NAME = "kiam-test", "bench"


def steps(home: Path) -> dict[str, float]:
    """Seconds of each step of the last command, by 'what' or, for one of a machine, 'machine: what'."""
    last = max((home / "state" / "runs").iterdir(), key=lambda run: run.stat().st_mtime)
    events = map(json.loads, (last / "events.jsonl").read_text().splitlines())
    done = [event for event in events if event["kind"] == "done"]
    return {
        event["step"] if event["where"] == SITE else f"{event['where']}: {event['step']}": event["seconds"]
        for event in done
    }


def by_hand(bench: Bench, volumes: Path, copy: Path) -> tuple[float, float]:
    """Seconds to keep the site without snapshots, until it is up again, and to bring it back."""

    def keep() -> None:
        bench.gridvisor("down", SITE)
        subprocess.run(["cp", "-a", "--sparse=always", volumes, copy], check=True)
        bench.gridvisor("up", SITE)

    def bring_back() -> None:
        bench.gridvisor("down", SITE)
        shutil.rmtree(volumes)
        subprocess.run(["cp", "-a", "--sparse=always", copy, volumes], check=True)
        bench.gridvisor("up", SITE)

    try:
        return timed(keep), timed(bring_back)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="gv-bench-"))
    (home / "cache").symlink_to(Places.of(os.environ, uid=0).cache)
    bench = Bench(home)
    bench.write()
    taken: list[float] = []
    restored: list[float] = []
    hands: list[tuple[float, float]] = []
    parts: dict[str, list[float]] = {}
    try:
        bench.gridvisor("up", bench.file)
        for _ in range(ROUNDS):
            taken.append(timed(lambda: bench.gridvisor("snapshot", SITE, NAME)))
            seen = steps(home)
            restored.append(timed(lambda: bench.gridvisor("snapshot", "restore", SITE, NAME)))
            for what, seconds in (seen | steps(home)).items():
                parts.setdefault(what, []).append(seconds)
            [kept] = json.loads(bench.gridvisor("snapshot", "list", SITE, "-o", "json"))
            bench.gridvisor("snapshot", "rm", SITE, NAME)
        load = os.getloadavg()[0]
        for _ in range(min(ROUNDS, 3)):
            hands.append(by_hand(bench, home / "state" / "volumes" / f"site.{SITE}", home / "copy"))
        show("snapshot of six machines that run", taken, target="target 5")
        show("  by hand: stop, copy all disks, start", [keep for keep, _ in hands])
        show("restore, until all services answer", restored, target="target 20")
        show("  by hand: stop, copy all disks back, start", [back for _, back in hands])
        for what in sorted(parts, key=lambda what: statistics.median(parts[what])):
            show(f"    of it: {what}", parts[what])
        print(f"what the snapshot takes on the disk {kept['used_bytes'] / 2**20:.1f} MiB; load at the end {load:.1f}")
        check = timed(lambda: bench.gridvisor("check", "--live", SITE, "-k", "not test_site"))
        job = timed(lambda: bench.gridvisor("run", "--site", SITE, "--", "hostname"))
        print(f"after the last restore: all probes passed in {check:.1f} s, and a job in {job:.1f} s")
    finally:
        bench.gridvisor("destroy", "-y", bench.file)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
