"""The test authority under a clock that is set by hand: what is kept, renewed, revoked, expired or a stranger's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gridvisor.core.errors import Refused
from gridvisor.identity import authority as module
from gridvisor.identity.authority import Authority, End
from gridvisor.identity.credential import Credential

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = BEGIN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def keys() -> list[RSAPrivateKey]:
    """A few small keys for all tests of this file: making real ones takes most of a second each."""
    return [rsa.generate_private_key(public_exponent=65537, key_size=1024) for _ in range(8)]


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch, keys: list[RSAPrivateKey]) -> None:
    """Each key once a test, and none beyond."""
    left = iter(keys)
    monkeypatch.setattr(module, "new_key", lambda: next(left))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Authority:
    return Authority.open(tmp_path / "authority", "kiam-test", clock=clock)


def same_key(one: Credential, other: Credential) -> bool:
    return one.private_pem == other.private_pem


def is_from(credential: Credential, authority: Authority) -> bool:
    try:
        credential.certificate.verify_directly_issued_by(authority.credential.certificate)
    except (ValueError, InvalidSignature):
        return False
    return True


def revoked(authority: Authority) -> set[int]:
    return {one.serial_number for one in x509.load_pem_x509_crl(authority.crl_pem())}


def number(authority: Authority) -> int:
    crl = x509.load_pem_x509_crl(authority.crl_pem())
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_an_authority_is_made_once(authority: Authority, clock: Clock) -> None:
    clock.now += DAY
    again = Authority.open(authority.folder, "kiam-test", clock=clock)
    assert again.credential == authority.credential
    assert authority.dn.startswith("/DC=test/DC=grid/CN=kiam-test test CA ")
    assert is_from(authority.credential, authority)


def test_its_files_are_for_their_owner_alone(authority: Authority) -> None:
    authority.host_credential("ce.grid.test")
    authority.crl_pem()
    for path in authority.folder.rglob("*.pem"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert authority.folder.stat().st_mode & 0o777 == 0o700


def test_an_authority_near_its_end_gets_a_new_certificate_for_the_same_key_and_name(
    authority: Authority, clock: Clock
) -> None:
    user = authority.user_credential("tester")
    clock.now = authority.credential.not_after - 400 * DAY
    assert Authority.open(authority.folder, "kiam-test", clock=clock).credential == authority.credential
    clock.now += timedelta(seconds=1)
    renewed = Authority.open(authority.folder, "kiam-test", clock=clock)
    assert renewed.credential.not_after > authority.credential.not_after
    assert same_key(renewed.credential, authority.credential)
    assert (renewed.dn, renewed.hash) == (authority.dn, authority.hash)
    assert is_from(user, renewed), "what it signed before is as good as ever"


def test_two_authorities_of_one_name_are_told_apart(authority: Authority, tmp_path: Path, clock: Clock) -> None:
    other = Authority.open(tmp_path / "other", "kiam-test", clock=clock)
    assert (other.dn != authority.dn, other.hash != authority.hash) == (True, True)


def test_a_host_is_good_for_its_names(authority: Authority) -> None:
    made = authority.host_credential("ce.grid.test", ["ce", "ce.grid.test"])
    assert made.names == ("ce.grid.test", "ce")
    assert made.dn == "/DC=test/DC=grid/CN=ce.grid.test"
    assert is_from(made, authority)
    assert authority.host_credential("ce.grid.test", ["ce"]) == made
    more = authority.host_credential("ce.grid.test", ["ce", "arc"])
    assert (more.names, same_key(more, made)) == (("ce.grid.test", "arc", "ce"), True)


def test_a_certificate_is_kept_until_a_month_before_its_end(authority: Authority, clock: Clock) -> None:
    made = authority.user_credential("tester")
    assert (made.dn, made.names) == ("/DC=test/DC=grid/CN=tester", ())
    assert made.not_before < BEGIN < made.not_after == BEGIN + 365 * DAY
    clock.now = made.not_after - 30 * DAY
    assert authority.user_credential("tester") == made
    clock.now += timedelta(seconds=1)
    renewed = authority.user_credential("tester")
    assert renewed.not_after > made.not_after
    assert (same_key(renewed, made), renewed.serial == made.serial) == (True, False)


def test_a_certificate_from_the_future_is_made_again(authority: Authority, clock: Clock) -> None:
    made = authority.user_credential("tester")
    clock.now -= DAY
    assert authority.user_credential("tester").not_before < clock.now < made.not_before


def test_a_revoked_certificate_is_on_the_list_and_stays_there(authority: Authority, clock: Clock) -> None:
    good = authority.user_credential("tester")
    assert (revoked(authority), number(authority)) == (set(), 1)
    bad = authority.revoked("tester")
    assert (bad.dn, bad.serial != good.serial) == (good.dn, True)
    assert (revoked(authority), number(authority)) == ({bad.serial}, 2)
    assert authority.revoked("tester") == bad
    assert number(authority) == 2, "nothing new, no new list"
    clock.now += 359 * DAY
    other = authority.stranger()
    assert (revoked(authority), number(authority)) == ({bad.serial}, 3), "a new list, with what was on the old one"
    authority.revoke(other)
    assert revoked(authority) == {bad.serial, other.serial}


def test_the_list_is_signed_and_good_until_a_week_before_its_end(authority: Authority, clock: Clock) -> None:
    pem = authority.crl_pem()
    crl = x509.load_pem_x509_crl(pem)
    assert crl.is_signature_valid(authority.credential.private_key.public_key())
    assert crl.next_update_utc == BEGIN + 365 * DAY
    clock.now = crl.next_update_utc - 7 * DAY
    assert authority.crl_pem() == pem
    clock.now += timedelta(seconds=1)
    assert authority.crl_pem() != pem


def test_what_should_have_expired_has(authority: Authority, clock: Clock) -> None:
    expired = authority.expired("tester")
    assert expired.not_before < expired.not_after <= clock.now - DAY
    assert (expired.dn, is_from(expired, authority)) == ("/DC=test/DC=grid/CN=tester", True)
    assert authority.expired("tester") == expired
    clock.now = expired.not_after - DAY  # the clock was wrong before
    assert authority.expired("tester").not_after < clock.now


def test_a_foreign_certificate_looks_alike_and_is_not_ours(authority: Authority) -> None:
    foreign = authority.foreign("tester")
    assert foreign.dn == authority.user_credential("tester").dn
    assert not is_from(foreign, authority)
    with pytest.raises(Refused, match="cannot revoke it"):
        authority.revoke(foreign)
    assert revoked(authority) == set()


def test_after_another_authority_took_its_place_all_is_signed_anew(authority: Authority, clock: Clock) -> None:
    before, bad = authority.user_credential("tester"), authority.revoked("tester")
    (authority.folder / "authority.pem").unlink()
    after = Authority.open(authority.folder, "kiam-test", clock=clock)
    assert after.dn != authority.dn
    assert (is_from(before, after), is_from(after.user_credential("tester"), after)) == (False, True)
    assert bad.serial not in revoked(after)
    assert after.revoked("tester").serial in revoked(after)


def test_ends_are_told_the_soonest_first(authority: Authority, clock: Clock) -> None:
    authority.user_credential("tester")
    authority.expired("tester")
    clock.now += DAY
    authority.crl_pem()
    assert authority.ends() == (
        End("users/tester", BEGIN + 365 * DAY),
        End("crl", BEGIN + 366 * DAY),
        End("authority", BEGIN + 3652 * DAY),
    )


def test_many_hosts_at_once_are_those_asked_for(authority: Authority) -> None:
    names = {"ce.grid.test": ["ce"], "se.grid.test": []}
    made = authority.host_credentials(names)
    assert {fqdn: one.names for fqdn, one in made.items()} == {
        "ce.grid.test": ("ce.grid.test", "ce"),
        "se.grid.test": ("se.grid.test",),
    }


@pytest.mark.parametrize("site", ["", "-a", "a b", "a/b", "a\n", "x" * 48, "ä"])
def test_a_site_that_fits_into_no_name_is_refused(tmp_path: Path, site: str) -> None:
    with pytest.raises(Refused, match="test authority"):
        Authority.open(tmp_path / "authority", site)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x" * 65])
def test_a_name_that_fits_into_no_certificate_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(Refused, match="name in a certificate"):
        authority.user_credential(name)


@pytest.mark.parametrize("file", ["authority.pem", "users/tester.pem", "crl.pem"])
def test_a_file_that_is_not_what_it_should_be_is_refused_by_name(authority: Authority, clock: Clock, file: str) -> None:
    authority.user_credential("tester")
    authority.crl_pem()
    (authority.folder / file).write_bytes(b"-----BEGIN NONSENSE-----\n")

    def use() -> None:
        again = Authority.open(authority.folder, "kiam-test", clock=clock)
        again.user_credential("tester")
        again.crl_pem()

    with pytest.raises(Refused, match=file) as caught:
        use()
    assert caught.value.hint
