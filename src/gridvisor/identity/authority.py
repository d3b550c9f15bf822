"""The test authority of a site: it signs certificates of the site's machines and users, and they alone trust it.

Everything lies in one folder, a file for each certificate with its key, each made when it is first asked for. What is
asked for again is the same to the byte, until it nears its end: then the same key gets a new certificate.

    authority.pem    the authority itself
    crl.pem          its revocation list; it is also our only note of what is revoked
    hosts/FQDN.pem   users/NAME.pem
    probes/          what tests of refusal need: certificates that are expired, revoked, of a stranger
    foreign/         another authority, whose users nobody trusts
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ObjectIdentifier

from gridvisor.core.errors import Refused
from gridvisor.core.parallel import each
from gridvisor.identity.certificate import (
    HOST,
    USER,
    Issuer,
    Validity,
    authority_certificate,
    leaf_certificate,
    new_key,
)
from gridvisor.identity.credential import Credential, new_credential, read_credential
from gridvisor.identity.distinguished_name import grid_name, subject_hash
from gridvisor.identity.kept import kept
from gridvisor.identity.revocation import RevocationList, read_revocation_list, signed_revocation_list

_AUTHORITY_LIVES = timedelta(days=3652)
_AUTHORITY_RENEWED = timedelta(days=400)  # before its end: so that what it signs for a year ends before it
_LEAF_LIVES = timedelta(days=365)
_LEAF_RENEWED = timedelta(days=30)
_LIST_LIVES = timedelta(days=365)  # no machine of a running site fetches a newer one by itself
_LIST_RENEWED = timedelta(days=7)
_BACKDATED = timedelta(minutes=10)  # a guest's clock may be behind

_STRANGER = "gridvisor-stranger"
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,46}")  # with what is added, a common name's 64 characters
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")  # is a common name, and a file's


def utc_now() -> datetime:
    """The host's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class End:
    """When something that an authority signed is no longer good; `name` is its file below the folder, less '.pem'."""

    name: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority whose state is in `folder`. Any number of threads and processes may use it at once."""

    folder: Path
    credential: Credential
    clock: Callable[[], datetime]

    @classmethod
    def open(cls, folder: Path, site: str, *, clock: Callable[[], datetime] = utc_now) -> Authority:
        """The authority in `folder`, made the first time, and given a new certificate before its own ends.

        Its name ends in eight digits of its key, so those of two sites never look alike. Raises Refused for a `site`
        that does not fit into a name, and for a file in the folder that is not what it should be.
        """
        if not _SITE.fullmatch(site):
            raise Refused(
                f"{site!r} cannot be in the name of a test authority.",
                hint="use at most 47 letters, digits, '.', '_' and '-'",
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "authority.pem"

        def good(pem: bytes) -> bool:
            return _lasts(read_credential(pem, path).certificate, clock(), _AUTHORITY_RENEWED)

        def make(old: bytes | None) -> bytes:
            key = read_credential(old, path).private_key if old is not None else new_key()
            name = grid_name(f"{site} test CA {_digits(key.public_key())}")
            validity = Validity(clock() - _BACKDATED, clock() + _AUTHORITY_LIVES)
            return new_credential(authority_certificate(key, name, validity), key).pem

        return cls(folder, read_credential(kept(path, good, make), path), clock)

    @property
    def dn(self) -> str:
        """Its subject in slash form: '/DC=test/DC=grid/CN=kiam-test test CA 1f00c0de'."""
        return self.credential.dn

    @property
    def hash(self) -> str:
        """OpenSSL's hash of its subject: what its files are called in /etc/grid-security/certificates."""
        return subject_hash(self.credential.certificate.subject)

    @property
    def certificate_pem(self) -> bytes:
        return self.credential.certificate_pem

    def host_credential(self, fqdn: str, names: Sequence[str] = ()) -> Credential:
        """The certificate of the host `fqdn`, good for that name and the other `names`, as server and as client."""
        dns_names = (fqdn, *sorted({*names} - {fqdn}))
        return self._credential(f"hosts/{fqdn}", fqdn, HOST, dns_names=dns_names)

    def host_credentials(self, names: Mapping[str, Sequence[str]]) -> dict[str, Credential]:
        """The certificates of many hosts, by their whole names, made side by side; `names` as for one."""
        return each(names, lambda fqdn: self.host_credential(fqdn, names[fqdn]))

    def user_credential(self, name: str) -> Credential:
        """The certificate of the user '/DC=test/DC=grid/CN=`name`'; it can make proxies."""
        return self._credential(f"users/{name}", name, USER)

    def stranger(self) -> Credential:
        """A good certificate of a user who is in no VO."""
        return self._credential("probes/stranger", _STRANGER, USER)

    def expired(self, user: str) -> Credential:
        """A certificate with the subject of `user` that ended a day or more ago."""
        return self._credential(f"probes/expired-{user}", user, USER, expired=True)

    def revoked(self, user: str) -> Credential:
        """A certificate with the subject of `user` that is on the revocation list.

        The first call changes that list, so call before the list goes to the machines.
        """
        credential = self._credential(f"probes/revoked-{user}", user, USER)
        self.revoke(credential)
        return credential

    def foreign(self, user: str) -> Credential:
        """A certificate with the subject of `user`, signed by another authority, which no machine trusts."""
        return Authority.open(self.folder / "foreign", "foreign", clock=self.clock).user_credential(user)

    def revoke(self, credential: Credential) -> None:
        """Put `credential` on the revocation list, for good. Raises Refused if another authority signed it."""
        if not self._signed(credential.certificate):
            raise Refused(f"The certificate of '{credential.dn}' is not from '{self.dn}', which cannot revoke it.")
        self._revocation_list(frozenset({credential.serial}))

    def crl_pem(self) -> bytes:
        """The revocation list; a new one when something was revoked, or a week before the next one is due."""
        return self._revocation_list(frozenset())

    def ends(self) -> tuple[End, ...]:
        """When what was made so far ends, the soonest first. A machine that is gone may still be among them."""
        paths = (self.folder / "authority.pem", *self.folder.glob("hosts/*.pem"), *self.folder.glob("users/*.pem"))
        ends = [
            End(str(path.relative_to(self.folder).with_suffix("")), read_credential(path.read_bytes(), path).not_after)
            for path in paths
        ]
        path = self.folder / "crl.pem"
        if path.exists():
            ends.append(End("crl", read_revocation_list(path.read_bytes(), path).validity.end))
        return tuple(sorted(ends, key=lambda end: (end.not_after, end.name)))

    def _credential(
        self,
        file: str,
        name: str,
        purposes: Sequence[ObjectIdentifier],
        *,
        dns_names: tuple[str, ...] = (),
        expired: bool = False,
    ) -> Credential:
        """The credential kept in `file` for the common name `name`, made or renewed if need be."""
        if not _NAME.fullmatch(name):
            raise Refused(
                f"{name!r} cannot be the name in a certificate.",
                hint="use at most 64 letters, digits, '.', '_' and '-'",
            )
        path = self.folder / f"{file}.pem"

        def good(pem: bytes) -> bool:
            credential = read_credential(pem, path)
            fits = self._signed(credential.certificate) and credential.names == dns_names
            if expired:
                return fits and credential.not_after < self.clock()
            return fits and _lasts(credential.certificate, self.clock(), _LEAF_RENEWED)

        def make(old: bytes | None) -> bytes:
            key = read_credential(old, path).private_key if old is not None else new_key()
            end = self.clock() - timedelta(days=1) if expired else self.clock() + _LEAF_LIVES
            certificate = leaf_certificate(
                self._issuer,
                key.public_key(),
                name=grid_name(name),
                validity=Validity(min(self.clock() - _BACKDATED, end - _LEAF_RENEWED), end),
                purposes=purposes,
                dns_names=dns_names,
            )
            return new_credential(certificate, key).pem

        return read_credential(kept(path, good, make), path)

    def _revocation_list(self, also: frozenset[int]) -> bytes:
        """The list, with the serial numbers `also` on it."""
        path = self.folder / "crl.pem"

        def ours(pem: bytes) -> RevocationList | None:
            """What `pem` says; nothing if it is from an authority that was here before."""
            found = read_revocation_list(pem, path)
            return found if found.crl.is_signature_valid(self.credential.private_key.public_key()) else None

        def good(pem: bytes) -> bool:
            found, now = ours(pem), self.clock()
            if found is None:
                return False
            return also <= found.serials and found.validity.begin <= now <= found.validity.end - _LIST_RENEWED

        def make(old: bytes | None) -> bytes:
            found = ours(old) if old is not None else None
            validity = Validity(self.clock() - _BACKDATED, self.clock() + _LIST_LIVES)
            return signed_revocation_list(self._issuer, found, also, validity)

        return kept(path, good, make)

    @property
    def _issuer(self) -> Issuer:
        return Issuer(self.credential.certificate, self.credential.private_key)

    def _signed(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self.credential.certificate)
        except (ValueError, InvalidSignature):
            return False
        return True


def _lasts(certificate: x509.Certificate, now: datetime, margin: timedelta) -> bool:
    """True if `certificate` is good now, and for `margin` more; one from the future was made under a wrong clock."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - margin


def _digits(key: RSAPublicKey) -> str:
    """Eight hex digits that tell `key` from others."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:8]
