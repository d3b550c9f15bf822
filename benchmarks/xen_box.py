"""How long real Xen in a box takes: to come up, to create guests beside the same commands by hand, to save and resume.

Run as root on a machine that is otherwise idle:  sudo .venv/bin/python benchmarks/xen_box.py
Prints medians (and least to most), and what gridvisor takes more than its commands by hand, run in turns. Without KVM
it takes half an hour. The box is one of its own, and is removed in the end.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import show, timed

from gridvisor.app.box import box_of
from gridvisor.app.host import Host
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.identity.keys import access_key

ROUNDS = 3
AT_ONCE = 5
MIB = 160
VM1 = Path(__file__).parent.parent / "examples" / "vm1.cfg"
# Of guests that gridvisor has made: their configurations and identities, put aside with how they are reached.
TAKE = """\
mkdir -p /root/hand
cd /root/hand
for name; do
    sed -e "s#\\"[^\\"]*\\.identity,#\\"/root/hand/$name.identity,#; /^uuid/d" "/etc/xen/$name.cfg" >"$name.cfg"
    cp "$(sed -n 's/.*"\\(\\S*\\.identity\\),.*/\\1/p' "/etc/xen/$name.cfg")" "$name.identity"
    for what in namespace address; do
        sed -n "s/.*\\"$what\\": \\"\\([^\\"]*\\)\\".*/\\1/p" "/var/lib/gridvisor/domains/$name.json" >"$name.$what"
    done
done
lvs --noheadings -o origin "vg0/$1-disk" | tr -d ' ' >golden
"""
# The same guests again, by the commands that a person would type.
CREATE = """\
cd /root/hand
golden=$(cat golden)
for name; do
    lvcreate -q --yes --snapshot --setactivationskip n --permission rw --name "$name-disk" "vg0/$golden"
    lvcreate -q --yes --wipesignatures n --virtualsize 256m --thinpool thin --name "$name-swap" vg0
    xl create -q "$name.cfg"
done
"""
REMOVE = """\
for name; do
    xl destroy "$name"
done
sleep 2
for name; do
    lvremove -q --yes "vg0/$name-disk" "vg0/$name-swap"
done
"""


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

    def dom0(self, script: str, *words: str) -> str:
        return self.box("ssh", "--", f"set -eu -- {' '.join(words)}\n{script}")

    def domain(self, *words: str) -> str:
        return self.gridvisor("domain", "--monitor", "box", *words)

    def login(self, name: str) -> list[str]:
        """The ssh of a person to whom dom0 is the way there; it waits until the guest can be reached."""
        namespace, address = self.dom0(f"cd /root/hand; cat {name}.namespace {name}.address").split()
        places = Places.of(self.environment, uid=0)
        dom0 = box_of(Host(places, Bus())).dom0
        there = f"nsenter --net=/run/netns/{namespace} socat - TCP:{address}:22,retry=600,interval=1"
        options = {
            "ProxyCommand": shlex.join((*dom0.argv, there)),
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "IdentityFile": str(access_key(places.state / "keys").private_path),
            "ConnectTimeout": "600",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", *words, f"root@{address}", "true"]

    def create(self, name: str, *, wait: bool = False) -> None:
        disks = f"disk=['phy:/dev/vg0/{name}-disk,xvda1,w','phy:/dev/vg0/{name}-swap,xvda2,w']"
        words = ["--wait", "--timeout", "600"] if wait else []
        self.domain("create", *words, str(VM1), f"name={name}", disks, "vif=['']", f"memory={MIB}")

    def destroy(self, name: str) -> None:
        self.domain("destroy", "--volumes", name)


def cold(bench: Bench) -> None:
    seconds = []
    for _ in range(ROUNDS):
        bench.box("down", "--power-off")
        seconds.append(timed(lambda: bench.box("up")))
    show("box from cold until xl answers over ssh", seconds)


def beside_the_same_by_hand(bench: Bench) -> None:
    """One guest at a time, beside one that has the image and the bridge there."""
    bench.create("warm", wait=True)
    bench.create("one")
    bench.dom0(TAKE, "one")
    bench.destroy("one")
    ours, hand, answer = [], [], []
    for number in range(ROUNDS):
        ours.append(timed(lambda: bench.create("one")))
        bench.destroy("one")
        hand.append(timed(lambda: bench.dom0(CREATE, "one")))
        bench.dom0(REMOVE, "one")
        answer.append(timed(lambda: bench.create("one", wait=True)))
        if number < ROUNDS - 1:
            bench.destroy("one")
    show("domain create, volumes made, without waiting", ours)
    show("the same by hand: lvcreate, lvcreate, xl create", hand)
    show("ratio, pair by pair", [a / b for a, b in zip(ours, hand, strict=True)], "")
    show("create --wait, to ssh answering", answer)


def saved_and_restored(bench: Bench) -> None:
    """The guest that answered last."""
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

    ours = timed(create_all)
    bench.dom0(TAKE, *names)
    logins = [bench.login(name) for name in names]
    for name in names:
        bench.destroy(name)

    def create_all_by_hand() -> None:
        bench.dom0(CREATE, *names)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda login: subprocess.run(login, check=True, capture_output=True), logins))

    hand = timed(create_all_by_hand)
    bench.dom0(REMOVE, *names)
    bench.destroy("warm")
    create_all()
    show(f"{AT_ONCE} at once, until all answer ssh", [ours])
    show("the same by hand, in a loop, then ssh to each", [hand])
    show("ratio", [ours / hand], "")
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
            for part in (cold, beside_the_same_by_hand, saved_and_restored, several):
                part(bench)
        finally:
            bench.box("rm", "--yes")


if __name__ == "__main__":
    main()
