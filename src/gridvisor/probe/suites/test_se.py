"""Storage element: a member's files go in and out by both protocols, and those of others do not.

A revoked certificate is not shown here: XRootD 5.8 lets it in by both protocols, revocation list or not.
"""

from __future__ import annotations

import uuid
import zlib

import pytest
from testinfra.host import Host

from gridvisor.app.site.account import Account
from gridvisor.probe.visitor import NOBODY, Visitors
from gridvisor.run.command import script
from gridvisor.site.machine import Machine

pytestmark = pytest.mark.role("se")

# XRootD's client tries a server that does not answer for some minutes, unless it is told not to.
_PROXY = "export X509_USER_PROXY=/tmp/x509up_u$(id -u) XRD_CONNECTIONWINDOW=5 XRD_CONNECTIONRETRY=1\n"
_CURL = (
    "web() { curl --silent --show-error --fail --location --max-time 30 --cert $X509_USER_PROXY --key $X509_USER_PROXY "
    '--cacert $X509_USER_PROXY --capath /etc/grid-security/certificates "$@"; }\n'
)
_CHUNK = bytes(range(256)) * 4096  # 1 MiB


def test_stored_by_root(machine: Machine, account: Account) -> None:
    """A file is put, read back, and deleted by root://, and is not there any more."""
    url, path = f"root://{machine.fqdn}:1094", f"/{account.user.vo}/probe-{uuid.uuid4().hex}"
    done = account.run(
        script(
            _PROXY + 'cat >~/probe.in\nxrdcp --silent ~/probe.in "$1/$2"\nxrdcp --silent --force "$1/$2" ~/probe.out\n'
            'cmp ~/probe.in ~/probe.out\nxrdfs "$1" query checksum "$2"\nxrdfs "$1" rm "$2" >&2\nrm ~/probe.*\n'
            '! xrdfs "$1" stat "$2" 2>/dev/null',
            *(url, path),
            stdin=_CHUNK,
        ),
        timeout_s=120,
        check=False,
    )
    assert done.status == 0, done.stderr
    name, value = done.stdout.split()
    assert (name, int(value, 16)) == ("adler32", zlib.adler32(_CHUNK))


def test_stored_by_webdav(machine: Machine, account: Account) -> None:
    """A file is put, read back, and deleted by WebDAV over HTTPS, and is not there any more."""
    url = f"https://{machine.fqdn}:1094/{account.user.vo}/probe-{uuid.uuid4().hex}"
    done = account.run(
        script(
            _PROXY + _CURL + 'cat >~/probe.in\nweb --upload-file ~/probe.in --output /dev/null "$1"\n'
            'web --output ~/probe.out "$1"\ncmp ~/probe.in ~/probe.out\nweb --request DELETE "$1"\nrm ~/probe.*\n'
            '! web --head --output /dev/null "$1" 2>/dev/null',
            url,
            stdin=_CHUNK,
        ),
        timeout_s=120,
        check=False,
    )
    assert done.status == 0, done.stderr


@pytest.mark.needs("stored_by_root", "stored_by_webdav")
def test_both_protocols_agree(machine: Machine, account: Account) -> None:
    """A file that was put by one protocol is the same by the other, with gfal's copy and its checksum."""
    path = f"/{account.user.vo}/probe-{uuid.uuid4().hex}"
    done = account.run(
        script(
            _PROXY + 'echo both >~/probe.in\ngfal-copy "file://$HOME/probe.in" "root://$1/$2" >/dev/null\n'
            'gfal-cat "davs://$1$2"\ngfal-sum "davs://$1$2" ADLER32\ngfal-rm "davs://$1$2" >/dev/null\nrm ~/probe.in',
            *(f"{machine.fqdn}:1094", path),
        ),
        timeout_s=120,
        check=False,
    )
    assert done.status == 0, done.stderr
    assert done.stdout.split()[0] == "both"
    assert int(done.stdout.split()[-1], 16) == zlib.adler32(b"both\n")


@pytest.mark.needs("stored_by_webdav")
@pytest.mark.parametrize("who", ["stranger", "expired", "foreign", NOBODY])
def test_webdav_refuses(machine: Machine, account: Account, visitors: Visitors, who: str) -> None:
    """WebDAV neither shows nor takes anything of those who are not members, or cannot prove it."""
    url = f"https://{machine.fqdn}:1094/{account.user.vo}/"
    for words in ((), ("--request", "PUT", "--data", "x")):
        answer = visitors.answer(f"{url}{who}" if words else url, who, *words)
        assert answer in (401, 403) or str(answer).startswith("TLS "), f"{who} was told {answer}"


@pytest.mark.needs("stored_by_root")
@pytest.mark.parametrize("who", ["stranger", "foreign", NOBODY])
def test_root_refuses(machine: Machine, account: Account, visitors: Visitors, who: str) -> None:
    """root:// does not list anything for those who are not members, or cannot prove it."""
    url = f"root://{machine.fqdn}:1094"
    assert visitors.xrootd(url, "member", "ls", f"/{account.user.vo}")[0] == 0, "not even a member is let in"
    status, said = visitors.xrootd(url, who, "ls", f"/{account.user.vo}")
    assert status != 0, f"{who} saw: {said}"
    assert any(word in said for word in ("Auth failed", "permission denied", "not authorized")), said


def test_data_on_its_own_volume(guest: Host) -> None:
    """The files lie on a volume of their own, not on the machine's root."""
    source = guest.check_output("findmnt --noheadings --output SOURCE /srv/data")
    assert source != guest.check_output("findmnt --noheadings --output SOURCE /")
    assert guest.check_output("stat --format %U /srv/data/*").split()[0] == "xrootd"


def test_software_area_exported(guest: Host) -> None:
    """The VOs' software is exported read-only, and the NFS server runs."""
    exported = guest.check_output("exportfs -v")
    assert "/srv/software" in exported
    assert "rw," not in exported
    assert guest.check_output("cat /proc/fs/nfsd/threads") != "0", "the NFS server has no threads"
