"""People whom the site must not let in: certificates that are good for nothing, and the look at what they are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import SystemSaidNo
from gridvisor.identity.credential import Credential
from gridvisor.run.command import Command, script
from gridvisor.run.target import Target
from gridvisor.site.machine import Machine

NOBODY = "nobody"  # who shows no certificate at all
_FOLDER = "/run/gridvisor-visitors"  # in memory, of root alone
_AUTHORITIES = "/etc/grid-security/certificates"
_TIMEOUT_S = 60.0
# Of curl(1), how a server that does not like the client's certificate breaks the connection off: in the handshake, in
# what is sent or received first, and by its alert of an expired certificate, which curl 8.14 takes for its own verdict.
_TLS_REFUSALS = {35: "handshake", 55: "send", 56: "receive", 60: "verification"}


@dataclass(frozen=True)
class Visitors:
    """Certificates on the machine that `target` reaches, by who shows them; see `visitors_on`."""

    target: Target
    names: Mapping[str, Credential]

    def answer(self, url: str, who: str, *words: str) -> int | str:
        """What the HTTPS server tells `who`: a status such as 403, or how it breaks the TLS connection off.

        It says something of `who` only where a member is answered well. Raises SystemSaidNo when nobody answers there:
        a service that is dead refuses everybody, and proves nothing.
        """
        shown = ("--cert", f"{_FOLDER}/{who}.pem") if who != NOBODY else ()
        done = self.target.run(
            Command.of(
                *("curl", "--silent", "--show-error", "--max-time", "20", "--capath", _AUTHORITIES),
                *("--output", "/dev/null", "--write-out", "%{http_code}", *shown, *words, url),
            ),
            timeout_s=_TIMEOUT_S,
            check=False,
        )
        if done.status in _TLS_REFUSALS:
            return f"TLS {_TLS_REFUSALS[done.status]}"
        if done.status:
            raise SystemSaidNo(f"{url} does not answer: {done.stderr.strip()}")
        return int(done.stdout)

    def xrootd(self, url: str, who: str, *words: str) -> tuple[int, str]:
        """Exit status and output of xrdfs(1) for `who`, by a proxy of their certificate."""
        made = f"{_FOLDER}/{who}.proxy"
        if who == NOBODY:
            source = 'X509_USER_PROXY=/nonexistent xrdfs "$@" 2>&1'
            words = (url, *words)
        else:
            source = (
                'pem=$1 proxy=$2; shift 2; arcproxy -C "$pem" -K "$pem" -P "$proxy" -c validityPeriod=1H 2>&1\n'
                'X509_USER_PROXY=$proxy xrdfs "$@" 2>&1'
            )
            words = (f"{_FOLDER}/{who}.pem", made, url, *words)
        done = self.target.run(script(source, *words), timeout_s=_TIMEOUT_S, check=False)
        return done.status, done.stdout


@contextmanager
def visitors_on(machine: Machine, deployment: Deployment) -> Iterator[Visitors]:
    """Put the certificates on `machine` for the time of the body: of a stranger, expired, revoked, of a foreign CA."""
    authority, user = deployment.authority, deployment.site.users[0].name
    names = {
        "stranger": authority.stranger(),
        "expired": authority.expired(user),
        "revoked": authority.revoked(user),
        "foreign": authority.foreign(user),
        "member": authority.user_credential(user),
    }
    target = deployment.ssh(machine)
    for name, credential in names.items():
        source = 'umask 077; mkdir -p "$1"; cat >"$1/$2.pem"'
        target.run(script(source, _FOLDER, name, stdin=credential.pem), timeout_s=_TIMEOUT_S)
    try:
        yield Visitors(target, names)
    finally:
        target.run(Command.of("rm", "-rf", _FOLDER), timeout_s=_TIMEOUT_S, check=False)
