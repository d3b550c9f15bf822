"""A certificate with its private key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from gridvisor.core.errors import Refused
from gridvisor.identity.distinguished_name import slash_form

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n.+?\n-----END \1-----\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key, both as PEM; the key in RSA's own form, which Globus's tools write too."""

    certificate_pem: bytes
    private_pem: bytes = field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate_pem)

    @property
    def dn(self) -> str:
        """The subject in slash form: '/DC=test/DC=grid/CN=tester'."""
        return slash_form(self.certificate.subject)

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names that the certificate is good for."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ()
        return tuple(found.value.get_values_for_type(x509.DNSName))

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def private_key(self) -> RSAPrivateKey:
        # The check of the primes takes 30 ms for each key, and these are keys that we made ourselves.
        key = load_pem_private_key(self.private_pem, password=None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError(f"the key of '{self.dn}' is not an RSA key")
        return key

    @property
    def pem(self) -> bytes:
        """Key and certificate as one text: one file, so that they never fit badly."""
        return self.private_pem + self.certificate_pem


def new_credential(certificate: x509.Certificate, key: RSAPrivateKey) -> Credential:
    """The credential that `certificate` and its `key` make."""
    private_pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return Credential(certificate.public_bytes(Encoding.PEM), private_pem)


def read_credential(pem: bytes, path: Path) -> Credential:
    """The credential in `pem`, which is from `path`. Raises Refused if it is none."""
    parts = {found[1]: found[0] for found in _PEM.finditer(pem)}
    try:
        credential = Credential(parts[b"CERTIFICATE"], parts[b"RSA PRIVATE KEY"])
        if credential.certificate.public_key() != credential.private_key.public_key():
            raise ValueError("the certificate is that of another key")
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(
            f"'{path}' does not hold a certificate and its RSA key: {error}",
            hint=f"remove '{path}', and new ones are made",
        ) from error
    return credential
