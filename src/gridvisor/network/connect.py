"""How ssh reaches a guest, whose network the machine itself may have no route to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.network.way import Way
from gridvisor.run.ssh import known_hosts_options, option_words, path_option
from gridvisor.run.wrapped import enter_netns


def ssh_argv(
    way: Way,
    address: IPv4Address,
    *,
    port: int = 22,
    key: Path,
    known_hosts: Path,
    user: str = "root",
    command: Sequence[str] = (),
    connect_timeout_s: int = 10,
) -> list[str]:
    """The command line that opens ssh to a guest, for a person or a pipe on this machine.

    Only our key and our `known_hosts` count, not the user's configuration, agent or other keys. As with ssh, a single
    word of `command` is a line for the guest's shell; several words arrive there as they are.
    """
    options = {
        "IdentityFile": path_option(key),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "ConnectTimeout": str(max(connect_timeout_s, way.patience_s)),
        "ServerAliveInterval": "15",
        "LogLevel": "ERROR",
        **known_hosts_options(known_hosts),
        **({"ProxyCommand": way.proxy_command} if way.proxy_command else {}),
    }
    other_port = ("-p", str(port)) if port != 22 else ()
    there = [*option_words(options), *other_port, "-l", user, "--", str(address)]
    words = [*way.enter, "ssh", "-F", "none", *there]
    if len(command) == 1:
        return [*words, command[0]]
    return [*words, shlex.join(command)] if command else words


def proxy_command(namespace: str) -> str:
    """The ProxyCommand of ssh_config(5) with which an ssh outside the namespace (Ansible's, rsync's) gets in."""
    return shlex.join((*enter_netns(namespace), "socat", "-", "TCP:%h:%p"))
