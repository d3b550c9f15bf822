"""New files for a machine that runs: put there, and those told that read them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.plan import changed_files
from gridvisor.identity.model import IdentityEntry
from gridvisor.identity.tarball import identity_bytes
from gridvisor.run.command import script
from gridvisor.site.machine import Machine
from gridvisor.site.role import Role

_TIMEOUT_S = 120.0
_UNITS = "/etc/systemd/system/"
_TMPFILES = "/etc/tmpfiles.d/"
_SYSUSERS = "/etc/sysusers.d/"


def change_files(
    machine: Machine,
    deployment: Deployment,
    entries: Sequence[IdentityEntry],
    *,
    have: Mapping[str, str],
    want: Mapping[str, str],
) -> tuple[str, ...]:
    """Bring the machine from the files it `have`s to those it should; gives back the paths that were changed.

    Raises CommandFailed when a file cannot be written, or a reload of the role fails.
    """
    changed = changed_files(have, want)
    new = [entry for entry in entries if entry.path in changed]
    # Folders stay: what else is in them is not ours.
    gone = [path for path in changed if path not in want and not have[path].endswith(" /")]
    command = script("\n".join(_script(machine.role, changed, gone)), stdin=identity_bytes(new))
    deployment.ssh(machine).run(command, timeout_s=_TIMEOUT_S)
    return changed


def _script(role: Role, changed: Sequence[str], gone: Sequence[str]) -> list[str]:
    # A guest that dies now may find these files empty when it boots: without its note it unpacks its identity again.
    lines = ["rm -f /etc/gridvisor/identity", "sync /etc/gridvisor", "tar -x -p -f - -C /"]
    if gone:
        lines.append(shlex.join(["rm", "-f", "--", *gone]))
    if any(path.startswith(_UNITS) for path in changed):
        lines.append("systemctl daemon-reload")
    if any(path.startswith(_SYSUSERS) for path in changed):
        lines.append("systemd-sysusers")
    if any(path.startswith(_TMPFILES) for path in changed):
        lines.append("systemd-tmpfiles --create")
    return lines + reloads(role, changed)


def reloads(role: Role, changed: Sequence[str]) -> list[str]:
    """The role's commands for these files, each once, in the role's order."""
    return [
        reload.command
        for reload in role.reload
        if any(path.startswith(prefix) for path in changed for prefix in reload.files)
    ]
