"""Worker node: it serves Slurm, shares the folders of the site, and reaches nothing else."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from gridvisor.app.site.deployment import Deployment, address_of
from gridvisor.network.address import gateway_of
from gridvisor.probe.reach import reached
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role("wn")


def test_slurm_daemon_runs(guest: Host) -> None:
    """Slurm's daemon runs, with credentials that the controller takes."""
    assert guest.check_output("pgrep -c -x slurmd") != "0"
    guest.check_output("munge --no-input | unmunge")
    assert "is UP" in guest.check_output("scontrol ping")


def test_session_folder_shared(guest: Host) -> None:
    """The folder of the jobs is the computing element's, by NFS 4."""
    assert guest.check_output("findmnt --noheadings --output FSTYPE /grid/session") == "nfs4"
    require_server(guest, "/grid/session")


def test_software_area_read_only(guest: Host, deployment: Deployment) -> None:
    """The VOs' software is seen, runs, and cannot be changed from here."""
    if not deployment.of_role("se"):
        pytest.skip("the site has no storage element")
    require_server(guest, "/grid/software")
    assert guest.check_output("timeout 20 /grid/software/hello-grid")
    assert guest.run("timeout 20 touch /grid/software/of-a-worker-node").failed


def require_server(guest: Host, folder: str) -> None:
    """Fail unless the server of that NFS folder answers.

    What was read before is known without it (a delegation: RFC 8881, 10.4). A program that waits for it may not end for
    minutes, unless it is killed.
    """
    guest.check_output("timeout --signal=KILL 15 stat --file-system %s", folder)


def test_reaches_nothing_else(guest: Host, deployment: Deployment) -> None:
    """Of the other machines the node reaches storage alone, and there no more than its two services."""
    ports = {"ssh": 22, "https": 443, "xrootd": 1094, "nfs": 2049, "bdii": 2170, "prometheus": 9090, "exporter": 9100}
    others = [machine for machine in deployment.machines if machine.role.name not in ("ce", "wn")]
    wanted = {f"{m.name}:{name}": (address_of(m), port) for m in others for name, port in ports.items()}
    allowed = {f"{m.name}:{name}" for m in deployment.of_role("se") for name in ("xrootd", "nfs")}
    assert reached(guest, wanted) == allowed


def test_no_way_out(guest: Host, machine: Machine, deployment: Deployment) -> None:
    """The node does not reach the host: its own address in the node's network does not answer."""
    network = machine.interfaces[0].network
    host = gateway_of(deployment.site.networks[network])
    assert reached(guest, {"ssh": (host, 22), "https": (host, 443)}) == set(), f"out of '{network}'"
