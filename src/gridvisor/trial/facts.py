"""What machines are like: packages, files of /etc, units, ports, users. Taken before and after, to be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.files import write_whole
from gridvisor.core.parallel import each
from gridvisor.run.command import script
from gridvisor.site.machine import Machine

_TIMEOUT_S = 120.0
# ss(8): protocol, state, two queues, local address and port, peer, and the processes.
_SOCKET = re.compile(r'(\S+)\s+\S+\s+\d+\s+\d+\s+(\S+):(\d+)\s+\S+(?:\s+users:\(\("([^"]+)")?')
_EPHEMERAL = 30000  # ports from here on are chosen by programs and the kernel, and are others after each start
_KERNEL = "kernel"  # a socket that is no process's, such as those of NFS


@dataclass(frozen=True, slots=True)
class Facts:
    """What a machine is like: by kind, what there is, and how it is.

    Kinds are 'package', 'file' and 'folder' (of /etc), 'unit', 'port' and 'user'.
    A file is 'MODE OWNER:GROUP DIGEST', a folder 'MODE OWNER:GROUP', a port the name of who listens.
    """

    kinds: Mapping[str, Mapping[str, str]]


def collect_facts(deployment: Deployment) -> dict[str, Facts]:
    """The facts of all machines, by their names. Raises CommandFailed or Unreachable for one that does not answer."""
    source = files("gridvisor.trial").joinpath("facts.sh").read_text()

    def of(machine: Machine) -> Facts:
        return parse_facts(deployment.ssh(machine).run(script(source), timeout_s=_TIMEOUT_S).stdout)

    return {machine.name: facts for machine, facts in each(deployment.machines, of).items()}


def parse_facts(text: str) -> Facts:
    """The facts in what facts.sh has printed."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("== "):
            sections[line[3:]] = []
        elif sections:
            sections[next(reversed(sections))].append(line)
    digests = {path: digest[:16] for digest, _, path in (line.partition("  ") for line in sections.get("digest", ()))}
    modes, folders = ((line.split(" ", 2) for line in sections.get(name, ())) for name in ("mode", "folder"))
    units = [*sections.get("unit", ()), *sections.get("failed", ())]
    return Facts(
        {
            "package": dict(_pairs(sections.get("package", ()))),
            "file": {path: f"{mode} {owner} {digests.get(path, 'link')}" for mode, owner, path in modes},
            "folder": {path: f"{mode} {owner}" for mode, owner, path in folders},
            "unit": dict(_pairs(units)),
            "port": dict(_ports(sections.get("port", ()))),
            "user": dict(_pairs(sections.get("user", ()))),
        }
    )


def write_facts(facts: Mapping[str, Facts], file: Path) -> None:
    """Keep the facts in a file."""
    write_whole(file, json.dumps({name: asdict(one)["kinds"] for name, one in facts.items()}))


def read_facts(file: Path) -> dict[str, Facts]:
    """The facts that were kept in a file; none when there is no such file, since nobody has taken them."""
    if not file.exists():
        return {}
    return {name: Facts(kinds) for name, kinds in json.loads(file.read_text()).items()}


def _pairs(lines: list[str] | tuple[()]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.strip().partition(" ")
        yield name, value


def _ports(lines: list[str] | tuple[()]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if match := _SOCKET.match(line):
            protocol, address, port, process = match.groups()
            chosen = int(port) >= _EPHEMERAL
            yield f"{protocol} {address}:{'some' if chosen else port}", process or _KERNEL
