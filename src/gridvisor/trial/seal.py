"""The release that was tried, for production: its exact packages and files with the verdict, signed.

The signature is OpenSSH's (ssh-keygen(1), -Y sign), since every machine has what verifies it.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from gridvisor import __version__
from gridvisor.core.files import write_whole
from gridvisor.identity.keys import signing_key
from gridvisor.release.lock import Release
from gridvisor.run.command import Command
from gridvisor.run.target import Target
from gridvisor.trial.model import Trial

LOCK = "release.lock"
SIGNATURE = f"{LOCK}.sig"
SIGNERS = "allowed_signers"
SIGNER, NAMESPACE = "gridvisor", "gridvisor-release"
_TIMEOUT_S = 30.0


def seal(
    trial: Trial, release: Release | None, roles: Path | None, folder: Path, *, keys: Path, target: Target
) -> None:
    """Write the lock of the trial, its signature, and who has signed it, into the trial's folder.

    `release` has the packages of the candidate and `roles` its changed files. The key is made in `keys` on first use.
    """
    text = lock_text(trial, release, roles)
    key = signing_key(keys)
    words = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(key.private_path), "-n", NAMESPACE)
    signed = target.run(Command(words, stdin=text.encode()), timeout_s=_TIMEOUT_S).stdout
    write_whole(folder / LOCK, text)
    write_whole(folder / SIGNATURE, signed)
    write_whole(folder / SIGNERS, f'{SIGNER} namespaces="{NAMESPACE}" {key.public}\n')


def lock_text(trial: Trial, release: Release | None, roles: Path | None) -> str:
    """The lock: JSON, with the packages of each role by name, and the changed files of roles with their SHA-256."""
    by_role = release.roles if release is not None else {}
    files = sorted(path for path in roles.rglob("*") if path.is_file()) if roles is not None else []
    facts = {
        "candidate": trial.candidate,
        "verdict": trial.verdict,
        "trial": trial.id,
        "site": trial.site,
        "stages": [result.stage for result in trial.stages],
        "decided": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"gridvisor {__version__}",
        "packages": {
            role: {
                one.name: {"version": one.version, "architecture": one.architecture, "sha256": one.sha256}
                for one in packages.install
            }
            for role, packages in by_role.items()
        },
        "removed": {role: list(packages.remove) for role, packages in by_role.items() if packages.remove},
        "files": {str(path.relative_to(roles)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        if roles is not None
        else {},
    }
    return json.dumps(facts, indent=1) + "\n"
