"""A user of the site at the user interface: commands run as that user, with a proxy of their certificate."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import Refused, SystemSaidNo
from gridvisor.run.command import Command, Result, Secret
from gridvisor.site.machine import Machine
from gridvisor.site.model import User

_PROXY_LEFT_S = 3600  # a proxy with less than this left is made anew


@dataclass(frozen=True)
class Account:
    """`user` of a site at its first user interface, `machine`."""

    deployment: Deployment
    machine: Machine
    user: User

    @classmethod
    def of(cls, deployment: Deployment, name: str | None = None) -> Account:
        """The account of the user of that name; of the site's first user if None.

        Raises Refused when the site has no such user, or no user interface.
        """
        machines = deployment.of_role("ui")
        if not machines:
            raise Refused(f"The site '{deployment.site.site}' has no user interface.", hint="add a machine: ui: {}")
        users = {user.name: user for user in deployment.site.users}
        if name is not None and name not in users:
            raise Refused(f"The site has no user '{name}'.", hint=f"its users: {', '.join(users)}")
        return cls(deployment, machines[0], users[name] if name else next(iter(users.values())))

    @property
    def home(self) -> str:
        """The account's home folder."""
        return f"/home/{self.user.name}"

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """Run `command` as the user, in a login shell's environment and home. See Target.run."""
        words = [*(f"{name}={value}" for name, value in command.env.items()), *command.argv]
        line = shlex.join(["env", *words])
        if any(isinstance(word, Secret) for word in command.argv):
            line = Secret(line)
        login = replace(command, argv=("runuser", "-l", self.user.name, "-c", line), env={})
        return self.deployment.ssh(self.machine).run(login, timeout_s=timeout_s, check=check)

    def require_proxy(self) -> None:
        """Make a proxy of the user's certificate, unless one is there that lives on for an hour.

        Raises SystemSaidNo with what arcproxy said when it cannot be made.
        """
        left = self.run(Command.of("arcproxy", "-i", "validityLeft"), timeout_s=60, check=False).stdout.strip()
        if left.isdigit() and int(left) > _PROXY_LEFT_S:
            return
        made = self.run(Command.of("arcproxy", "-c", "validityPeriod=12H"), timeout_s=60, check=False)
        if made.status:
            said = (made.stderr or made.stdout).strip()
            raise SystemSaidNo(f"'{self.user.name}' gets no proxy on '{self.machine.name}': {said}")
