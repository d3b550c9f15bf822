"""The list of certificates that an authority has revoked. It is its own record: nothing else can disagree with it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gridvisor.core.errors import Refused
from gridvisor.identity.certificate import Issuer, Validity, key_of


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A revocation list as it was read: when it is good, its number, and the serial numbers on it."""

    crl: x509.CertificateRevocationList
    validity: Validity
    number: int
    serials: frozenset[int]


def read_revocation_list(pem: bytes, path: Path) -> RevocationList:
    """The list in `pem`, which is from `path`. Raises Refused if it is none."""
    try:
        crl = x509.load_pem_x509_crl(pem)
        if crl.next_update_utc is None:
            raise ValueError("it does not say when the next one is due")
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Refused(
            f"'{path}' does not hold a revocation list: {error}",
            hint=f"remove '{path}', and a new one is made, with nothing revoked",
        ) from error
    validity = Validity(crl.last_update_utc, crl.next_update_utc)
    return RevocationList(crl, validity, number, frozenset(revoked.serial_number for revoked in crl))


def signed_revocation_list(
    issuer: Issuer, previous: RevocationList | None, also: Set[int], validity: Validity
) -> bytes:
    """The PEM of the list that follows `previous`: what was on that one, and the serial numbers `also`."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(validity.begin)
        .next_update(validity.end)
        .add_extension(key_of(issuer), critical=False)
        .add_extension(x509.CRLNumber(previous.number + 1 if previous else 1), critical=False)
    )
    for revoked in previous.crl if previous else ():
        builder = builder.add_revoked_certificate(revoked)
    for serial in sorted(also - (previous.serials if previous else frozenset())):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(validity.begin).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)
