"""Web cache: it listens, and a user of the site gets a page through it."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from gridvisor.app.site.account import Account
from gridvisor.run.command import Command
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role("squid")


def test_cache_listens(guest: Host) -> None:
    """Squid listens to all networks of its machine."""
    assert guest.socket("tcp://0.0.0.0:3128").is_listening


@pytest.mark.needs("cache_listens")
def test_cache_serves(machine: Machine, account: Account) -> None:
    """A user gets Squid's own report through Squid, from the user interface."""
    page = f"http://{machine.fqdn}:3128/squid-internal-mgr/info"
    get = ("curl", "--silent", "--show-error", "--fail", "--max-time", "10")
    done = account.run(Command.of(*get, "--proxy", f"{machine.fqdn}:3128", page), timeout_s=60, check=False)
    assert done.status == 0, done.stderr
    assert "Squid Object Cache" in done.stdout
