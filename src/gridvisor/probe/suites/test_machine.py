"""Every machine: it answers, it is what was built, its services, its names, its clock and its certificate are good."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from testinfra.host import Host

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import SystemSaidNo
from gridvisor.image.store import record_of
from gridvisor.run.command import Command, Unreachable
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role()

_CERTIFICATES = "/etc/grid-security/certificates"
_NEAR_ITS_END = timedelta(days=7)
_CLOCKS_DIFFER_S = 2.0
# What systemd says of a main process that died of such a signal. What the kernel says may be of a user's job.
_CRASH = "code=dumped|status=(4/ILL|6/ABRT|7/BUS|8/FPE|11/SEGV)"


def test_answers(deployment: Deployment, machine: Machine) -> None:
    """The machine runs and takes commands by ssh."""
    row = deployment.rows().get(machine.name)
    assert row is not None, "it has no domain"
    assert row.state == "running", f"its domain is {row.state}"
    try:
        deployment.ssh(machine).run(Command.of("true"), timeout_s=30)
    except Unreachable as error:
        raise SystemSaidNo(error.message) from error


def test_no_failed_unit(guest: Host) -> None:
    """No unit of systemd has failed."""
    failed = guest.check_output("systemctl list-units --state=failed --plain --no-legend --full")
    assert failed == "", "\n" + failed


def test_no_service_crashed(guest: Host) -> None:
    """No service has died of a crash since the machine booted, not even one that systemd has started again since."""
    done = guest.run(f"journalctl _PID=1 --boot --quiet --no-hostname --no-pager --grep '{_CRASH}'")
    assert done.stderr == "", done.stderr
    assert done.stdout == "", "\n" + done.stdout


def test_services_active(guest: Host, machine: Machine) -> None:
    """Every service of the machine's role is active."""
    states = guest.run(f"systemctl is-active {' '.join(machine.role.services)}").stdout.split()
    found = dict(zip(machine.role.services, states, strict=True))
    assert set(found.values()) <= {"active"}, {unit: state for unit, state in found.items() if state != "active"}


def test_packages_as_released(guest: Host, machine: Machine, deployment: Deployment) -> None:
    """Each package is one of the image that the machine was made from, in that version."""
    root = deployment.pool.find(f"{machine.name}-disk")
    assert root is not None, "it has no root volume"
    assert root.backing is not None, "its root volume is of no image"
    image = record_of(root.backing.parent)
    assert image is not None, f"{root.backing} is of no image that is known"
    released = {one.name: one.version for one in image.packages}
    text = guest.check_output("dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Status}\\n'")
    lines = (line.split() for line in text.splitlines())
    installed = {name: version for name, version, status in lines if status == "installed"}
    differs = {name: version for name, version in installed.items() if released.get(name) != version}
    assert not differs, f"not as released: {differs}"


def test_names_known(guest: Host, deployment: Deployment) -> None:
    """The machine knows every machine of the site by its whole name."""
    said = guest.run("getent ahostsv4 " + " ".join(machine.fqdn for machine in deployment.machines)).stdout
    found = {words[2]: words[0] for line in said.splitlines() if len(words := line.split()) == 3}
    for machine in deployment.machines:
        address = found.get(machine.fqdn, "unknown")
        assert address in {str(card.address) for card in machine.interfaces}, f"{machine.fqdn} is {address}"


def test_clock_agrees(guest: Host) -> None:
    """The clock agrees with the host's to two seconds."""
    before_s = time.time()
    there_s = float(guest.check_output("date +%s.%N"))
    after_s = time.time()
    off_s = max(before_s - there_s, there_s - after_s, 0.0)
    assert off_s < _CLOCKS_DIFFER_S, f"the clock is off by {off_s:.1f} s"


def test_certificate_valid(guest: Host, machine: Machine) -> None:
    """The host certificate is the machine's, is verified by the site's CA, fits its key, and does not end soon."""
    host = guest.check_output("cat /etc/grid-security/hostcert.pem")
    guest.check_output(f"openssl verify -CApath {_CERTIFICATES} -crl_check /etc/grid-security/hostcert.pem")
    certificate = x509.load_pem_x509_certificate(host.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert machine.fqdn in names.get_values_for_type(x509.DNSName)
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert left > _NEAR_ITS_END, f"it ends in {left}: gridvisor up renews it"
    of_key = serialization.load_pem_public_key(
        guest.check_output("openssl pkey -in /etc/grid-security/hostkey.pem -pubout").encode()
    )
    assert of_key == certificate.public_key(), "hostkey.pem is the key of another certificate"
    assert guest.file("/etc/grid-security/hostkey.pem").mode & 0o077 == 0


def test_revocation_list_current(guest: Host, deployment: Deployment) -> None:
    """The revocation list is the CA's, and the next one is not due."""
    text = guest.check_output(f"cat {_CERTIFICATES}/{deployment.authority.hash}.r0")
    crl = x509.load_pem_x509_crl(text.encode())
    assert crl.issuer == deployment.authority.credential.certificate.subject
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > datetime.now(UTC), f"it was due on {crl.next_update_utc}"
