"""How long a machine takes to boot, beside the same guest started by hand, and what guests hold of memory.

Run as root on a machine that is otherwise idle:  make bench
Prints medians (and least to most) of whole commands, and the ratio to the hand-written commands, run in turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import show, timed

from gridvisor.app.host import Host
from gridvisor.app.image import BASE
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.image.store import ImageStore

ROUNDS = 5
AT_ONCE = 6
MANY, MANY_MIB = 10, 96
VM1 = Path(__file__).parent.parent / "examples" / "vm1.cfg"
GRIDVISOR = (sys.executable, "-m", "gridvisor")


class Bench:
    """A state folder of its own beside this user's cache, and guests in it."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "GRIDVISOR_HOME": str(home)}
        self.state = home / "state"

    def gridvisor(self, *words: str) -> str:
        done = subprocess.run(
            [*GRIDVISOR, *words], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"gridvisor {' '.join(words)} failed:\n{done.stderr}")
        return done.stdout

    def create(self, name: str, *settings: str, wait: bool = True) -> None:
        disks = f"disk=['phy:/dev/vg0/{name}-disk,xvda1,w','phy:/dev/vg0/{name}-swap,xvda2,w']"
        words = ["--wait"] if wait else []
        self.gridvisor("domain", "create", *words, str(VM1), f"name={name}", disks, "vif=['']", *settings)

    def destroy(self, name: str) -> None:
        self.gridvisor("domain", "destroy", "--volumes", name)


def base_disk(places: Places) -> Path:
    """The root that `create` takes a copy of when no image is named."""
    return ImageStore(places).find(BASE).path


@contextlib.contextmanager
def by_hand(bench: Bench) -> Iterator[Callable[[], None]]:
    """The same guest with commands as a person would type them: a copy-on-write disk, a tap, linux.uml, ssh."""
    places = Places.of(bench.environment, uid=os.geteuid())
    runtime = Host(places, Bus()).uml_pack().runtime
    image = base_disk(places)
    machine = next(bench.state.glob("machines/*/identity.tar")).parent
    facts = json.loads((machine / "machine.json").read_text())
    work = Path(tempfile.mkdtemp(prefix="by-hand-"))
    namespace, tap = f"by-hand-{os.getpid()}", "tap0"
    script = f"""
    ip netns add {namespace}
    ip -n {namespace} link set lo up
    ip -n {namespace} link add br0 type bridge
    ip -n {namespace} addr add 10.77.0.1/24 dev br0
    ip -n {namespace} tuntap add {tap} mode tap
    ip -n {namespace} link set {tap} master br0 up
    ip -n {namespace} link set br0 up
    """
    subprocess.run(["/bin/sh", "-euc", script], check=True)
    ssh = ["ip", "netns", "exec", namespace, "ssh", "-i", str(bench.state / "keys" / "access_ed25519")]
    ssh += ["-o", f"UserKnownHostsFile={machine / 'known_hosts'}", "-o", "BatchMode=yes", "-o", "ConnectTimeout=1"]
    kernel = ["ip", "netns", "exec", namespace, "bwrap", "--ro-bind", f"{runtime}/usr", "/usr"]
    kernel += ["--symlink", "usr/lib64", "/lib64", "--symlink", "usr/lib", "/lib", "--proc", "/proc", "--dev", "/dev"]
    kernel += ["--dev-bind", "/dev/net/tun", "/dev/net/tun", "--tmpfs", "/tmp", "--bind", str(work), "/vm"]
    kernel += [
        "--ro-bind",
        str(image),
        "/images/root.img",
        "--ro-bind",
        str(machine / "identity.tar"),
        "/images/identity.tar",
    ]
    kernel += ["--ro-bind", str(runtime.parent), "/pack", "--unshare-pid", "--die-with-parent", "--new-session"]
    kernel += ["/usr/bin/linux.uml", "seccomp=on", "mem=256M", "uml_dir=/vm", "umid=hand", "initrd=/pack/initramfs"]
    kernel += [
        "con=null",
        "ssl=null",
        "con0=fd:0,fd:1",
        "ubd0=/vm/root.cow,/images/root.img",
        "ubd1r=/images/identity.tar",
    ]
    kernel += ["ubd2r=/pack/modules.img", "gridvisor.root=ubda", "gridvisor.modules=ubdc"]
    kernel += [f"gridvisor.identity=ubdb:{'0' * 64}"]
    kernel += [f"vec0:transport=tap,ifname={tap},mac={facts['macs'][0]},depth=128,gro=1"]

    def boot() -> None:
        for left in work.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        with (work / "log").open("wb") as log:
            guest = subprocess.Popen(kernel, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 60
            while subprocess.run([*ssh, f"root@{facts['address']}", "true"], capture_output=True).returncode:
                if time.monotonic() > end:
                    raise SystemExit(
                        "the guest by hand does not answer:\n" + (work / "log").read_text(errors="replace")
                    )
                time.sleep(0.1)
        finally:
            os.killpg(guest.pid, 9)
            guest.wait()

    try:
        yield boot
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=True)
        shutil.rmtree(work)


def one_machine(bench: Bench) -> None:
    ours: list[float] = []
    hand: list[float] = []
    bench.create("warm")
    with by_hand(bench) as boot:
        bench.gridvisor("domain", "destroy", "warm")
        for _ in range(ROUNDS):
            ours.append(timed(lambda: bench.create("one")))
            bench.destroy("one")
            hand.append(timed(boot))
    bench.destroy("warm")
    show("create --wait, to ssh answering", ours)
    show("the same guest by hand, to ssh answering", hand)
    ratios = [a / b for a, b in zip(ours, hand, strict=True)]
    show("ratio, pair by pair", ratios, "")


def own_processor_time(bench: Bench) -> None:
    used: list[float] = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        bench.create("one", wait=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        bench.destroy("one")
    show("processor time of one create, its tools included", used)


def several_at_once(bench: Bench) -> None:
    names = [f"m{number}" for number in range(AT_ONCE)]
    creating: list[float] = []
    listing: list[float] = []

    def create_all() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: bench.create(name), names))

    for _ in range(3):
        creating.append(timed(create_all))
        listing += [timed(lambda: bench.gridvisor("domain", "list")) for _ in range(ROUNDS)]
        for name in names:
            bench.destroy(name)
    show(f"{AT_ONCE} at once, until all answer ssh", creating)
    show(f"domain list of {AT_ONCE}", listing)


def memory_of_many(bench: Bench) -> None:
    for number in range(MANY):
        bench.create(f"m{number}", f"memory={MANY_MIB}")
    total_kib = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(bench.state) in (path / "cmdline").read_text() or "linux.uml" in (path / "exe").readlink().name:
                rollup = (path / "smaps_rollup").read_text()
                total_kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except OSError:
            continue
    free = bench.gridvisor("domain", "ssh", "m0", "--", "cat", "/proc/meminfo").split()
    print(f"{f'{MANY} guests of {MANY_MIB} MiB hold, keepers included':<58} {total_kib / 1024:7.0f} MiB")
    print(f"{'available inside one of them':<58} {int(free[free.index('MemAvailable:') + 1]) / 1024:7.0f} MiB")
    for number in range(MANY):
        bench.destroy(f"m{number}")


def main() -> None:
    cache = Places.of(os.environ, uid=os.geteuid()).cache
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gridvisor-bench-") as home:
        (Path(home) / "cache").symlink_to(cache)
        bench = Bench(Path(home))
        try:
            for part in (one_machine, own_processor_time, several_at_once, memory_of_many):
                part(bench)
        finally:
            for row in json.loads(bench.gridvisor("domain", "list", "-o", "json")):
                bench.destroy(row["name"])


if __name__ == "__main__":
    main()
