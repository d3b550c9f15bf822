"""The certificates that a test authority signs.

Plain functions of keys, names and times: who keeps what they make is the authority's business.
Keys are RSA: XRootD's GSI knows no others (XrdCryptosslRSA), and Globus's tools make no others.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

HOST = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
USER = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a certificate is good."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: its certificate and key."""

    certificate: x509.Certificate
    key: RSAPrivateKey


def new_key() -> RSAPrivateKey:
    """A new private key; takes about 40 ms, in which other threads run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def authority_certificate(key: RSAPrivateKey, name: x509.Name, validity: Validity) -> x509.Certificate:
    """The self-signed certificate of an authority that signs hosts and users, and no other authorities.

    It carries no name constraints: OpenSSL takes the number that is a proxy's common name for a DNS name outside them.
    """
    builder = _builder(key.public_key(), name, name, validity).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True).sign(key, hashes.SHA256())


def leaf_certificate(
    issuer: Issuer,
    key: RSAPublicKey,
    *,
    name: x509.Name,
    validity: Validity,
    purposes: Sequence[ObjectIdentifier],
    dns_names: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate of a host or a user, signed by `issuer`."""
    builder = (
        _builder(key, name, issuer.certificate.subject, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Without digital_signature a user could sign no proxy (RFC 3820, 3.1).
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(key_of(issuer), critical=False)
    )
    if dns_names:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def key_of(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    """The issuer by its key alone, so that a renewed certificate of the authority fits what it signed before."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _builder(key: RSAPublicKey, name: x509.Name, issuer: x509.Name, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        # Positive and in 63 bits: XRootD also keeps serial numbers as 64-bit integers.
        .serial_number(1 << 62 | secrets.randbits(62))
        .not_valid_before(validity.begin)
        .not_valid_after(validity.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
