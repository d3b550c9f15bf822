"""The command line as a user has it, in a home of its own, and a count of what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridvisor.core.places import Places
from gridvisor.network.namespace import NAMESPACES, HostNetwork

EXAMPLES = Path(__file__).parent.parent / "examples"

# What the network keeps for itself, however many domains there are.
_NETWORKS_OWN = "dnsmasq"


@dataclass(frozen=True)
class Home:
    """A GRIDVISOR_HOME whose cache is the user's own, so that images and the kernel pack are not made anew."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, cache: Path) -> Home:
        """A new home in `folder`."""
        folder.mkdir()
        cache.mkdir(parents=True, exist_ok=True)
        (folder / "cache").symlink_to(cache)
        return cls(folder)

    @property
    def places(self) -> Places:
        """Where its files are."""
        return Places.of(self.environment, uid=0)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        return {**os.environ, "GRIDVISOR_HOME": str(self.folder), "NO_COLOR": "1"}

    @property
    def network(self) -> HostNetwork:
        """The network of its domains."""
        return HostNetwork(self.places)

    def argv(self, *words: str | Path) -> list[str]:
        """The command line of `gridvisor WORDS`."""
        return [sys.executable, "-m", "gridvisor", *map(str, words)]

    def start(self, *words: str | Path, under: Sequence[str] = ()) -> subprocess.Popen[str]:
        """`gridvisor WORDS`, running; `under` is a command that runs it."""
        return subprocess.Popen(
            [*under, *self.argv(*words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(
        self, *words: str | Path, under: Sequence[str] = (), timeout_s: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """`gridvisor WORDS` to its end, whatever that is; a traceback is never right."""
        with self.start(*words, under=under) as process:
            stdout, stderr = process.communicate(timeout=timeout_s)
        assert "Traceback" not in stderr, stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def ok(self, *words: str | Path, timeout_s: float = 180) -> str:
        """What `gridvisor WORDS` prints; it has to succeed."""
        done = self.run(*words, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str | Path, status: int = 2, under: Sequence[str] = ()) -> str:
        """What `gridvisor WORDS` says when it fails with `status`."""
        done = self.run(*words, under=under)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stderr

    def ssh(self, name: str, script: str) -> str:
        """What a shell script prints in the guest; it has to succeed."""
        return self.ok("domain", "ssh", name, "--", script).strip()

    def rows(self) -> list[dict[str, Any]]:
        """`domain list`, as data."""
        rows: list[dict[str, Any]] = json.loads(self.ok("domain", "list", "-o", "json"))
        return rows

    def folders(self, kind: str) -> list[str]:
        """What lies in `state/KIND`, by name."""
        folder = self.places.state / kind
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def processes(self) -> list[str]:
        """Command lines of what runs for its domains: all that name the home or the network, or run inside it."""
        inside = subprocess.run(
            ["ip", "netns", "pids", self.network.namespace], capture_output=True, text=True, check=False
        ).stdout.split()
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            ours = path.parent.name in inside or str(self.folder) in line or self.network.namespace in line
            if ours and int(path.parent.name) != os.getpid() and _NETWORKS_OWN not in line:
                found.append(line)
        return found

    def namespaces(self) -> list[str]:
        """Its network namespaces."""
        return sorted(path.name for path in NAMESPACES.glob(f"gv-{self.places.tag}-*"))

    def taps(self) -> list[str]:
        """The taps in its network."""
        return [tap.name for tap in self.network.taps()]

    def clean(self) -> None:
        """End all that it runs; for the end of a test."""
        for name in self.folders("sites"):
            if (self.places.state / "sites" / name / "site.yaml").exists():
                self.ok("destroy", "-y", name)
        for row in self.rows():
            self.ok("domain", "destroy", row["name"])
        self.network.remove()
