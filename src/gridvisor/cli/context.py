"""What every command begins with: where files are, who is told, and the host itself."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from gridvisor.cli.terminal import Terminal
from gridvisor.core.events import Bus, JsonLines, Sink
from gridvisor.core.places import Places

if TYPE_CHECKING:
    from gridvisor.app.host import Host


class Output(StrEnum):
    """How a command prints what it found."""

    TEXT = "text"
    JSON = "json"


def places() -> Places:
    """The folders of this user."""
    return Places.of(os.environ, uid=os.geteuid())


def open_host(*, run: str | None = None, sink: Sink | None = None, monitor: str = "uml") -> Host:
    """The host that commands act on. With `run`, the verb's name, its events are kept in a run folder as well.

    `sink` shows progress in place of the lines on stderr; `monitor` is the URI of another monitor than this machine's.

    Raises Refused for a user who would look at folders of their own, while domains are root's.
    """
    from gridvisor.app.host import Host, require_root

    if "GRIDVISOR_HOME" not in os.environ:
        require_root()
    sinks: list[Sink] = [sink or Terminal(sys.stderr)]
    if run is not None and os.geteuid() == 0:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        sinks.append(JsonLines(places().state / "runs" / f"{stamp}-{run}-{os.getpid()}" / "events.jsonl"))
    host = Host(places(), Bus(*sinks), mirror_uri=os.environ.get("GRIDVISOR_MIRROR"))
    if monitor == host.uri:
        return host
    from gridvisor.app.xen_host import host_at

    return host_at(host, monitor)
