"""Computing element: A-REX answers members and nobody else, Slurm has its nodes, the element tells what it is."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.core.deadline import NotYet
from gridvisor.probe.batch import JobBatch
from gridvisor.probe.ldap import entries
from gridvisor.probe.reach import reached
from gridvisor.probe.settle import settled
from gridvisor.probe.visitor import NOBODY, Visitors
from gridvisor.roles.context import account_name
from gridvisor.run.command import script
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role("ce")

_SERVES = ("idle", "mix", "alloc", "comp")


def _jobs_of(machine: Machine) -> str:
    return f"https://{machine.fqdn}:443/arex/rest/1.0/jobs"


def test_arex_answers(machine: Machine, visitors: Visitors) -> None:
    """A-REX answers a member over HTTPS."""
    assert visitors.answer(_jobs_of(machine), "member") == 200


@pytest.mark.needs("arex_answers")
@pytest.mark.parametrize("who", ["stranger", "expired", "revoked", "foreign", NOBODY])
def test_arex_refuses(machine: Machine, visitors: Visitors, who: str) -> None:
    """A-REX does nothing for those who are not members, or cannot prove it."""
    answer = visitors.answer(_jobs_of(machine), who)
    # 500 "User can't be assigned configuration" is what A-REX 7.0 says in place of 403.
    assert answer in (401, 403, 500) or str(answer).startswith("TLS "), f"{who} was told {answer}"


@pytest.mark.needs("arex_answers")
def test_arex_runs_jobs(machine: Machine, guest: Host) -> None:
    """The part of A-REX that drives the jobs is alive."""
    pid = guest.check_output("systemctl show --property MainPID --value arc-arex.service")
    assert int(pid) > 0, "arc-arex.service has no process"
    assert guest.file(f"/proc/{pid}").exists


def test_slurm_answers(guest: Host) -> None:
    """Slurm's controller is up, and munge vouches for those who ask it."""
    guest.check_output("munge --no-input | unmunge")
    said = guest.check_output("scontrol ping")
    assert "is UP" in said, said


@pytest.mark.needs("slurm_answers")
def test_slurm_has_nodes(guest: Host, deployment: Deployment) -> None:
    """Slurm has every worker node of the site, and they respond: none is down or drained."""

    def check() -> None:
        text = guest.check_output("sinfo --noheader --Node --Format NodeList:60,StateCompact:20")
        states = dict(line.split() for line in text.splitlines())
        assert set(states) == {machine.name for machine in deployment.of_role("wn")}
        # With a '-' it is planned for a job; with '*' it does not respond, whatever else it is (sinfo(1)).
        bad = {name: state for name, state in states.items() if state.rstrip("-") not in _SERVES}
        if bad:
            raise NotYet(str(bad))

    settled(check)


def test_nodes_listen(guest: Host, deployment: Deployment) -> None:
    """Slurm's daemon listens on every worker node."""
    wanted = {machine.name: (machine.interfaces[0].address, 6818) for machine in deployment.of_role("wn")}
    assert reached(guest, wanted) == set(wanted)


def test_session_folder_exported(guest: Host, deployment: Deployment) -> None:
    """The folder of the jobs is exported to the farm and to nobody else, and the NFS server runs."""
    exports = (line.split() for line in guest.check_output("exportfs -s").splitlines())
    clients = [client.partition("(")[0] for folder, client in exports if folder == "/grid/session"]
    assert clients == [str(deployment.site.networks["farm"])]
    assert guest.check_output("cat /proc/fs/nfsd/threads") != "0", "the NFS server has no threads"


def test_gateway_filters(guest: Host) -> None:
    """The gateway forwards, and its rules are in force on both of its networks."""
    assert guest.file("/proc/sys/net/ipv4/ip_forward").content_string.strip() == "1", "it forwards nothing"
    for card, way in (("eth0", "ingress"), ("eth0", "egress"), ("eth1", "ingress")):
        rules = guest.check_output(f"tc filter show dev {card} {way}")
        assert "action drop" in rules, f"{card} lets through all that no rule names ({way})"


def test_element_published(machine: Machine, account: Account) -> None:
    """The element's own LDAP server tells of it in GLUE2: a service, an endpoint at its URL, a share."""
    uri = f"ldap://{machine.fqdn}:2135"

    def check() -> None:
        endpoints = entries(account, uri, "o=glue", "(objectClass=GLUE2Endpoint)")
        urls = {url for entry in endpoints for url in entry.get("GLUE2EndpointURL", ())}
        if not any(url.startswith(f"https://{machine.fqdn}") for url in urls):
            raise NotYet(f"no endpoint at its own name, but {sorted(urls)}")
        if not entries(account, uri, "o=glue", "(objectClass=GLUE2ComputingShare)"):
            raise NotYet("no share")

    settled(check)


def test_member_is_mapped(guest: Host, deployment: Deployment) -> None:
    """The account that a VO's members are mapped to is the same on the element and on every worker node."""
    command = " && ".join(f"id -u {account_name(vo)}" for vo in deployment.site.vos)
    ids = guest.check_output(command)
    for machine in deployment.of_role("wn"):
        there = deployment.ssh(machine).run(script(command), timeout_s=30)
        assert there.stdout.split() == ids.split(), f"other ids on {machine.name}"


@pytest.mark.needs("arex_answers", "services_active", "proxy_made", "slurm_has_nodes", "nodes_listen")
def test_job_submitted(batch: JobBatch) -> None:
    """The computing element takes jobs of several kinds; what becomes of them is asked last."""
    assert all(batch.ids.values())
