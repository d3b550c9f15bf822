"""How long a whole site takes: to come up, to give the first job's output, to grow, and how many jobs it moves.

Run as root on a machine that is otherwise idle:  make bench
Images are warm: they are built before the first round. There is no other tool to run beside this one.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from figures import show, timed

from gridvisor.app.host import Host
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.plan import plan
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.site.check import load_site

ROUNDS = 3
JOBS = int(os.environ.get("BENCH_JOBS", "100"))
KIAM = Path(__file__).parent.parent / "examples" / "kiam.yaml"
GRIDVISOR = (sys.executable, "-m", "gridvisor")


@dataclass(frozen=True)
class Bench:
    """A state folder of its own beside this user's cache, and in it the paper's site, publishing nothing."""

    home: Path

    @property
    def file(self) -> Path:
        return self.home / "site.yaml"

    def write(self, workers: int = 2) -> None:
        lines = KIAM.read_text().replace("count: 2", f"count: {workers}").splitlines(keepends=True)
        self.file.write_text("".join(line for line in lines if not line.startswith("publish:")))

    def gridvisor(self, *words: str | Path) -> str:
        done = subprocess.run(
            [*GRIDVISOR, *map(str, words)],
            env={**os.environ, "GRIDVISOR_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"gridvisor {' '.join(map(str, words))} failed:\n{done.stderr}")
        return done.stdout

    def destroy(self) -> None:
        self.gridvisor("destroy", "-y", self.file)

    def one_more(self) -> None:
        """Bring the site to its changed file, and have Slurm run a job on the new worker node."""
        self.gridvisor("up", self.file)
        self.gridvisor("ssh", "ce", "--", "srun", "--nodelist=wn3", "--chdir=/", "hostname")

    def held_mib(self) -> float:
        """What the host has given to all processes of the site, shared pages counted once (Pss)."""
        total_kib = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.home).encode() in (folder / "cmdline").read_bytes() or is_guest(folder):
                    lines = (folder / "smaps_rollup").read_text().splitlines()
                    total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except OSError:
                continue
        return total_kib / 1024


def is_guest(folder: Path) -> bool:
    """True for the processes of a User-Mode Linux: its kernel, and those that hold its programs' memory."""
    line = (folder / "cmdline").read_bytes()
    return b"linux.uml" in line or b"uml-userspace" in line


def thousand_machines(home: Path) -> float:
    """Seconds to lay out and plan a site of a thousand machines, none of which is there."""
    file = home / "thousand.yaml"
    file.write_text(
        "site: large\nnetworks: {site: 10.20.0.0/16, farm: 10.21.0.0/16}\nmachines: {ce: {}, wn: {count: 999}}\n"
    )

    def work() -> None:
        site, machines = load_site(file)
        deployment = Deployment(Host(Places(home / "cache", home / "state"), Bus()), site, machines)
        assert len(plan(deployment.machines, {}, lambda _: None)) == 1000

    return timed(work)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="gv-bench-"))
    (home / "cache").symlink_to(Places.of(os.environ, uid=0).cache)
    bench = Bench(home)
    bench.write()
    figures: dict[str, list[float]] = {
        name: [] for name in ("up", "job", "again", "nothing", "own", "total", "more", "mem")
    }
    try:
        show("plan of 1000 machines", [thousand_machines(home) for _ in range(3)], target="target 1")
        bench.gridvisor("up", bench.file)
        bench.destroy()
        for _ in range(ROUNDS):
            bench.write()
            before, idle = resource.getrusage(resource.RUSAGE_CHILDREN), busy_s()
            up_s = timed(lambda: bench.gridvisor("up", bench.file))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            figures["own"].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            figures["total"].append(busy_s() - idle)
            figures["up"].append(up_s)
            figures["job"].append(up_s + timed(lambda: bench.gridvisor("run", "--", "hostname")))
            figures["again"].append(timed(lambda: bench.gridvisor("run", "--", "hostname")))
            figures["nothing"].append(timed(lambda: bench.gridvisor("up", bench.file)))
            figures["mem"].append(bench.held_mib())
            bench.write(workers=3)
            figures["more"].append(timed(bench.one_more))
            if len(figures["up"]) < ROUNDS:
                bench.destroy()
        show("up, six machines, until all services answer", figures["up"], target="target 45")
        show("up, and the first job's output", figures["job"], target="target 60")
        show("a job, from `run` to its output", figures["again"])
        show("up with nothing to do", figures["nothing"], target="target 2")
        show("one more worker node, until Slurm runs a job on it", figures["more"], target="target 12")
        show("memory of all processes of the site", figures["mem"], "MiB", "target 1536")
        show("processor time of `up` and the tools it runs", figures["own"])
        show("  of all that the machine did meanwhile", figures["total"])
        jobs_s = timed(lambda: bench.gridvisor("run", "--count", str(JOBS), "--timeout", "1200", "--", "hostname"))
        print(f"{JOBS} jobs at once through the computing element {jobs_s:8.1f} s: {JOBS / jobs_s * 60:.1f} a minute")
    finally:
        bench.gridvisor("destroy", "-y", bench.file)
        shutil.rmtree(home, ignore_errors=True)


def busy_s() -> float:
    """Seconds that all processors have worked since the machine started (proc_stat(5): user, nice, system, …)."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(words[3]) + int(words[4])
    return (sum(map(int, words[:8])) - idle) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
