"""How long real Xen in a box takes: to come up, to create guests beside the same commands by hand, to save and resume.

Run as root on a machine that is otherwise idle:  sudo .venv/bin/python benchmarks/xen_box.py
Prints medians (and least to most), and what gridvisor takes more than its commands by hand, run in turns. Without KVM
it takes half an hour. The box is one of its own, and is removed in the end.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gridvisor.core.places import Places

ROUNDS = 3
AT_ONCE = 5
MIB = 160
VM1 = Path(__file__).parent.parent / "examples" / "vm1.cfg"
# What `domain create` has made in dom0, made again by the commands that a person would type, of the same image.
BY_HAND = """\
lvcreate -q --yes --snapshot --setactivationskip n --permission rw --name hand-disk "vg0/$(lvs --noheadings \
    --separator ' ' -o origin vg0/warm-disk | tr -d ' ')"
lvcreate -q --yes --wipesignatures n --virtualsize 128m --thinpool thin --name hand-swap vg0
xl create -q /root/hand.cfg
"""
TAKE = """\
cp "$(sed -n 's/.*"\\(\\S*\\.identity\\),.*/\\1/p' /etc/xen/warm.cfg)" /root/hand.identity
sed -e 's/warm/hand/g; s/^uuid.*//; s#"[^"]*\\.identity,#"/root/hand.identity,#' \
    -e 's/mac=[0-9a-f:]*/mac=00:16:3e:99:99:99/; s/,vifname=[^"]*//' /etc/xen/warm.cfg >/root/hand.cfg
"""
TAKE_AWAY = "xl destroy hand; sleep 2; lvremove -q --yes vg0/hand-disk vg0/hand-swap"


class Bench:
    """A state folder of its own beside this user's cache, with a box in it."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "GRIDVISOR_HOME": str(home)}

    def gridvisor(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gridvisor", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"gridvisor {' '.join(words)} failed:\n{done.stderr}")
        return done.stdout

    def box(self, *words: str) -> str:
        return self.gridvisor("host", "box", *words)

    def dom0(self, script: str) -> str:
        return self.box("ssh", "--", script)

    def domain(self, *words: str) -> str:
        return self.gridvisor("domain", "--monitor", "box", *words)

    def create(self, name: str, *, wait: bool = False) -> None:
        disks = f"disk=['phy:/dev/vg0/{name}-disk,xvda1,w','phy:/dev/vg0/{name}-swap,xvda2,w']"
        words = ["--wait", "--timeout", "600"] if wait else []
        self.domain("create", *words, str(VM1), f"name={name}", disks, "vif=['']", f"memory={MIB}")

    def destroy(self, name: str) -> None:
        self.domain("destroy", "--volumes", name)


def timed(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def show(what: str, seconds: list[float], unit: str = "s") -> None:
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"{what:<58} {statistics.median(seconds):7.2f} {unit:<4} ({spread}, n={len(seconds)})", flush=True)


def cold(bench: Bench) -> None:
    seconds = []
    for _ in range(ROUNDS):
        bench.box("down", "--power-off")
        seconds.append(timed(lambda: bench.box("up")))
    show("box from cold until xl answers over ssh", seconds)


def beside_the_same_by_hand(bench: Bench) -> None:
    """Both with a guest beside it, so that the image and the bridge are there."""
    bench.create("warm", wait=True)
    bench.dom0(TAKE)
    ours, hand = [], []
    for _ in range(ROUNDS):
        ours.append(timed(lambda: bench.create("one")))
        bench.destroy("one")
        hand.append(timed(lambda: bench.dom0(BY_HAND)))
        bench.dom0(TAKE_AWAY)
    bench.destroy("warm")
    show("domain create, volumes made, without waiting", ours)
    show("the same by hand: lvcreate, lvcreate, xl create", hand)
    show("ratio, pair by pair", [a / b for a, b in zip(ours, hand, strict=True)], "")


def to_ssh(bench: Bench) -> None:
    seconds = []
    for _ in range(ROUNDS):
        seconds.append(timed(lambda: bench.create("one", wait=True)))
        if len(seconds) < ROUNDS:
            bench.destroy("one")
    show("create --wait, to ssh answering", seconds)


def saved_and_restored(bench: Bench) -> None:
    """The guest of `to_ssh`."""
    saving, restoring = [], []
    for number in range(ROUNDS):
        file = f"/root/one-{number}.save"
        saving.append(timed(lambda file=file: bench.domain("save", "one", file)))  # type: ignore[misc]
        restoring.append(timed(lambda file=file: bench.domain("restore", file)))  # type: ignore[misc]
        bench.dom0(f"rm {file}")
    bench.destroy("one")
    show(f"save a guest of {MIB} MiB", saving)
    show("restore it", restoring)


def several(bench: Bench) -> None:
    names = [f"m{number}" for number in range(AT_ONCE)]

    def create_all() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: bench.create(name, wait=True), names))

    show(f"{AT_ONCE} at once, until all answer ssh", [timed(create_all)])
    keeping, resuming = [], []
    for _ in range(ROUNDS):
        keeping.append(timed(lambda: bench.box("down")))
        resuming.append(timed(lambda: bench.box("up")))
    show(f"box kept with {AT_ONCE} guests", keeping)
    show("box resumed, its guests running", resuming)


def main() -> None:
    cache = Places.of(os.environ, uid=os.geteuid()).cache
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gridvisor-bench-") as home:
        (Path(home) / "cache").symlink_to(cache)
        bench = Bench(Path(home))
        bench.box("up")
        try:
            for part in (cold, beside_the_same_by_hand, to_ssh, saved_and_restored, several):
                part(bench)
        finally:
            bench.box("rm", "--yes")


if __name__ == "__main__":
    main()
