"""Where Grid software looks for certificates: /etc/grid-security of a machine, .globus of a user."""

from __future__ import annotations

from gridvisor.identity.authority import Authority
from gridvisor.identity.credential import Credential
from gridvisor.identity.distinguished_name import grid_dn
from gridvisor.identity.model import IdentityEntry, IdentityFile, IdentityFolder

_TRUSTED = "/etc/grid-security/certificates"


def grid_security(authority: Authority, credential: Credential) -> tuple[IdentityEntry, ...]:
    """What the host of `credential` has below /etc/grid-security: its own certificate and key, and whom it trusts."""
    trusted = f"{_TRUSTED}/{authority.hash}"
    return (
        # Everybody may look who is trusted: a stricter mode shows as "self-signed certificate in certificate chain".
        IdentityFolder("/etc/grid-security", 0o755),
        IdentityFolder(_TRUSTED, 0o755),
        IdentityFile(f"{trusted}.0", authority.certificate_pem),
        IdentityFile(f"{trusted}.r0", authority.crl_pem()),
        IdentityFile(f"{trusted}.signing_policy", signing_policy(authority.dn).encode()),
        IdentityFile("/etc/grid-security/hostcert.pem", credential.certificate_pem),
        IdentityFile("/etc/grid-security/hostkey.pem", credential.private_pem, 0o600),
    )


def user_globus(home: str, credential: Credential, *, uid: int, gid: int | None = None) -> tuple[IdentityEntry, ...]:
    """The user's home folder, and in it .globus with certificate and key; `gid` is as `uid` if not given."""
    own_gid = uid if gid is None else gid
    return (
        IdentityFolder(home, 0o700, uid, own_gid),
        IdentityFolder(f"{home}/.globus", 0o755, uid, own_gid),
        IdentityFile(f"{home}/.globus/usercert.pem", credential.certificate_pem, 0o644, uid, own_gid),
        # voms-proxy-init refuses a key that others may read.
        IdentityFile(f"{home}/.globus/userkey.pem", credential.private_pem, 0o400, uid, own_gid),
    )


def signing_policy(dn: str) -> str:
    """The file that allows the authority with this `dn` the names of test authorities, and no others."""
    return (
        f"access_id_CA   X509    '{dn}'\npos_rights     globus  CA:sign\ncond_subjects  globus  '\"{grid_dn('*')}\"'\n"
    )
