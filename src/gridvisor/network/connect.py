"""How ssh reaches a guest, whose network the machine itself has no route to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.run.ssh import known_hosts_options, option_words, path_option
from gridvisor.run.wrapped import enter_netns


def ssh_argv(
    namespace: str,
    address: IPv4Address,
    *,
    key: Path,
    known_hosts: Path,
    user: str = "root",
    command: Sequence[str] = (),
    connect_timeout_s: int = 10,
) -> list[str]:
    """The command line that opens ssh to a guest from the machine it runs on; ssh itself runs in the namespace.

    Only our key and our `known_hosts` count, not the user's configuration, agent or other keys. As with ssh, a single
    word of `command` is a line for the guest's shell; several words arrive there as they are.
    """
    options = {
        "IdentityFile": path_option(key),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "ConnectTimeout": str(connect_timeout_s),
        "ServerAliveInterval": "15",
        "LogLevel": "ERROR",
        **known_hosts_options(known_hosts),
    }
    words = [*enter_netns(namespace), "ssh", "-F", "none", *option_words(options), "-l", user, "--", str(address)]
    if len(command) == 1:
        return [*words, command[0]]
    return [*words, shlex.join(command)] if command else words


def proxy_command(namespace: str) -> str:
    """The ProxyCommand of ssh_config(5) with which an ssh outside the namespace (Ansible's, rsync's) gets in."""
    return shlex.join((*enter_netns(namespace), "socat", "-", "TCP:%h:%p"))
