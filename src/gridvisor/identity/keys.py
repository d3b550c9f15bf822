"""What is made at random, once, and kept: a machine's host key and machine-id, and the user's access key.

Keys are Ed25519 in OpenSSH's own format: made in under a millisecond, known to OpenSSH since 6.5 (2014).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from gridvisor.core.errors import Refused
from gridvisor.core.files import locked, write_whole
from gridvisor.identity.model import HostKey


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key of gridvisor's own: that with which it logs in to guests, or signs. `public` is its line for others."""

    private_path: Path
    public: str


def access_key(folder: Path) -> AccessKey:
    """The user's key, made in `folder` the first time that it is asked for; any number may ask at once."""
    path = folder / "access_ed25519"
    _, public = _kept_key(path)
    return AccessKey(path, f"{public} gridvisor")


def signing_key(folder: Path) -> AccessKey:
    """The key with which verdicts are signed, made in `folder` the first time that it is asked for."""
    path = folder / "signing_ed25519"
    _, public = _kept_key(path)
    return AccessKey(path, public)


def host_key(folder: Path) -> HostKey:
    """The host key of the machine whose own state is in `folder`, made the first time that it is asked for."""
    private_pem, public = _kept_key(folder / "ssh_host_ed25519_key")
    return HostKey("ed25519", private_pem, public)


def new_machine_id() -> str:
    """A random id as machine-id(5) wants it: 32 hex digits of a version 4 UUID."""
    return uuid.uuid4().hex


def machine_id(folder: Path) -> str:
    """The machine-id of the machine whose own state is in `folder`, made the first time that it is asked for."""
    path = folder / "machine-id"
    with locked(folder / ".identity.lock"):
        if not path.exists():
            write_whole(path, f"{new_machine_id()}\n")
    return path.read_text().strip()


def known_hosts_line(host: str, key: HostKey, *, port: int = 22) -> str:
    """A line of known_hosts (sshd(8)) with which ssh believes `host`, a name, address or HostKeyAlias, strictly."""
    return f"{host if port == 22 else f'[{host}]:{port}'} {key.public}\n"


def _kept_key(path: Path) -> tuple[bytes, str]:
    """The private key in `path`, and its public line without a comment. Raises Refused if it is not such a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(path.parent / ".identity.lock"):
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            write_whole(path, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    private_pem = path.read_bytes()
    try:
        key = load_ssh_private_key(private_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused(
            f"'{path}' is not a private ssh key: {error}", hint=f"remove '{path}', and a new key is made"
        ) from error
    return private_pem, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
