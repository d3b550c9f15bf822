"""Monitoring: the site BDII has the whole site in GLUE2, and Prometheus sees every machine."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.core.deadline import NotYet
from gridvisor.probe.ldap import Entry, entries
from gridvisor.probe.settle import settled
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role("mon")

# What GFD.147 (GLUE 2.0), tables of each entity, wants to be there once and more.
_MANDATORY = {
    "GLUE2AdminDomain": ("GLUE2DomainID",),
    "GLUE2ComputingService": ("GLUE2ServiceID", "GLUE2ServiceType", "GLUE2ServiceQualityLevel"),
    "GLUE2StorageService": ("GLUE2ServiceID", "GLUE2ServiceType", "GLUE2ServiceQualityLevel"),
    "GLUE2Endpoint": (
        *("GLUE2EndpointID", "GLUE2EndpointURL", "GLUE2EndpointInterfaceName", "GLUE2EndpointQualityLevel"),
        *("GLUE2EndpointHealthState", "GLUE2EndpointServingState"),
    ),
    "GLUE2ComputingShare": ("GLUE2ShareID", "GLUE2ComputingShareServingState"),
    "GLUE2Manager": ("GLUE2ManagerID", "GLUE2ManagerProductName"),
}


def _glue(machine: Machine, account: Account, filter_: str) -> list[Entry]:
    return entries(account, f"ldap://{machine.fqdn}:2170", "o=glue", filter_)


def test_bdii_answers(machine: Machine, account: Account, deployment: Deployment) -> None:
    """The site BDII names the site."""
    found = _glue(machine, account, "(objectClass=GLUE2AdminDomain)")
    assert [entry["GLUE2DomainID"] for entry in found] == [[deployment.site.site]]


@pytest.mark.needs("bdii_answers", "element_published")
def test_glue_complete(machine: Machine, account: Account, deployment: Deployment) -> None:
    """Every computing and storage element of the site is in the BDII, with an endpoint at its own name."""
    elements = [*deployment.of_role("ce"), *deployment.of_role("se")]

    def check() -> None:
        found = _glue(machine, account, "(objectClass=GLUE2Endpoint)")
        urls = [url for entry in found for url in entry.get("GLUE2EndpointURL", ())]
        missing = [element.fqdn for element in elements if not any(element.fqdn in url for url in urls)]
        if missing:
            raise NotYet(f"no endpoint at {', '.join(missing)}")

    settled(check)


@pytest.mark.needs("glue_complete")
def test_glue_valid(machine: Machine, account: Account, deployment: Deployment) -> None:
    """The entries have the attributes that GLUE 2.0 wants of them."""
    expected = {"ce": "GLUE2ComputingService", "se": "GLUE2StorageService"}
    for name, mandatory in _MANDATORY.items():
        found = _glue(machine, account, f"(objectClass={name})")
        lacking = {
            entry["dn"][0]: missing
            for entry in found
            if (missing := [one for one in mandatory if not any(entry.get(one, ()))])
        }
        assert not lacking, f"{name}: {lacking}"
        if any(deployment.of_role(role) and name == kind for role, kind in expected.items()):
            assert found, f"no {name}"


def test_prometheus_sees_all(guest: Host, deployment: Deployment) -> None:
    """Prometheus has every machine of the site as a target, and each of them is up."""

    def check() -> None:
        text = guest.check_output("curl --silent --fail --max-time 10 http://localhost:9090/api/v1/targets")
        targets = json.loads(text)["data"]["activeTargets"]
        health = {target["labels"]["instance"].partition(":")[0]: target["health"] for target in targets}
        missing = {machine.fqdn for machine in deployment.machines} - health.keys()
        if missing:
            raise NotYet(f"no target for {', '.join(sorted(missing))}")
        bad = {f"{t['labels']['instance']}: {t['lastError'] or t['health']}" for t in targets if t["health"] != "up"}
        if bad:
            raise NotYet("; ".join(sorted(bad)))

    settled(check)
