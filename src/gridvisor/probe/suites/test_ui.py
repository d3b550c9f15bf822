"""User interface: its clients work, its users get proxies, and it stays out of the farm."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment, address_of
from gridvisor.probe.reach import reached
from gridvisor.run.command import Command
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role("ui")


@pytest.mark.parametrize("client", ["arcsub", "arcproxy", "xrdcp", "gfal-copy", "davix-get", "voms-proxy-info"])
def test_client_runs(guest: Host, client: str) -> None:
    """A client program starts and says its version."""
    flag = "-version" if client.startswith("voms") else "--version"
    done = guest.run(f"{client} {flag}")
    assert done.rc == 0, done.stdout + done.stderr


def test_users_are_there(guest: Host, deployment: Deployment) -> None:
    """Every user of the site has an account, and a certificate that only they can use."""
    for user in deployment.site.users:
        assert guest.user(user.name).exists
        key = guest.file(f"/home/{user.name}/.globus/userkey.pem")
        assert (key.user, key.mode & 0o077) == (user.name, 0)
        subject = guest.check_output(f"openssl x509 -noout -subject -nameopt compat -in {key.path[:-11]}usercert.pem")
        assert deployment.authority.user_credential(user.name).dn in subject.replace(" = ", "=").replace(", ", "/")


def test_proxy_made(account: Account) -> None:
    """A user makes a proxy of their certificate, good for half a day."""
    made = Command.of("arcproxy", "-c", "validityPeriod=12H", "-P", "/tmp/probe-proxy")
    done = account.run(made, timeout_s=60, check=False)
    assert done.status == 0, done.stdout + done.stderr
    shown = account.run(Command.of("arcproxy", "-P", "/tmp/probe-proxy", "-i", "validityLeft"), timeout_s=60)
    account.run(Command.of("rm", "/tmp/probe-proxy"), timeout_s=60)
    assert 11.9 * 3600 < int(shown.stdout) <= 12 * 3600


def test_farm_out_of_reach(guest: Host, machine: Machine, deployment: Deployment) -> None:
    """Through the gateway the user interface reaches no worker node: neither ssh, nor Slurm's daemon, nor exporter."""
    ports = {"ssh": 22, "slurmd": 6818, "exporter": 9100}
    wanted = {
        f"{machine.name}:{name}": (address_of(machine), port)
        for machine in deployment.of_role("wn")
        for name, port in ports.items()
    }
    if not wanted:
        pytest.skip("the site has no worker nodes")
    [gateway, *_] = deployment.of_role("ce")
    network = deployment.of_role("wn")[0].interfaces[0].network
    if network in {card.network for card in machine.interfaces}:
        pytest.skip("the user interface is in the network of the worker nodes")
    # Without a route it would not even come to the gateway.
    farm = str(deployment.site.networks[network])
    guest.check_output("ip route replace %s via %s", farm, str(address_of(gateway)))
    try:
        assert reached(guest, wanted) == set()
    finally:
        guest.run("ip route del %s", farm)
