"""A machine of the site as pytest-testinfra's Host: its modules (file, service, package, …) work on the guest."""

from __future__ import annotations

from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from gridvisor.run.command import Command
from gridvisor.run.target import Target

_TIMEOUT_S = 120.0


class TargetBackend(BaseBackend):
    """testinfra's commands, run where a Target runs them. Raises what Target.run raises when it is not reached."""

    NAME = "gridvisor"

    def __init__(self, name: str, target: Target) -> None:
        super().__init__(name)
        self._target = target
        self._encoding = "utf-8"  # our images; asked of the guest otherwise, with a Python that it may not have

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a shell command, `args` quoted into its %s."""
        line = self.get_command(command, *args)
        done = self._target.run(Command.of("/bin/sh", "-c", line), timeout_s=_TIMEOUT_S, check=False)
        return self.result(done.status, self.encode(line), done.stdout, done.stderr)


def guest_host(name: str, target: Target) -> Host:
    """The testinfra Host of the machine `name`, which `target` reaches as root."""
    return Host(TargetBackend(name, target))
