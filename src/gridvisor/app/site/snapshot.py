"""Snapshots of a whole site: the disks of all machines as they were at one moment, and back to it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from gridvisor.app.host import require_root
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import open_deployment
from gridvisor.app.site.quiet import quiet
from gridvisor.app.site.restoring import RESTORING
from gridvisor.app.site.up import up
from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.files import write_whole
from gridvisor.core.parallel import each
from gridvisor.identity.keys import machine_id
from gridvisor.monitor.protocol import State
from gridvisor.run.command import Command
from gridvisor.site.check import CANDIDATE_ROLES
from gridvisor.site.machine import Machine
from gridvisor.storage.snapshots import Snapshot, SnapshotStore

# What of the site's folder says what the site is. Keys and certificates are not rolled back: the CA must not give a
# serial number twice, and a machine that boots gets a fresh identity anyway.
_FILES = ("site.yaml", "addresses.json", "roles", CANDIDATE_ROLES)
_COPIES = 4
_ASK_S = 30.0


def take_snapshot(deployment: Deployment, name: str) -> Snapshot:
    """Keep the site as it is now: machines that run hold still together while their disks are copied, some seconds.

    Of a disk only what differs from its image is copied, and not even that where the file system can share blocks.
    Raises Refused for a name that is taken and while a machine neither runs nor is down.
    """
    require_root()
    store = SnapshotStore(deployment.host.places, deployment.site.site)
    bus, where = deployment.host.bus, deployment.site.site
    with deployment.held():
        store.require_new(name)
        running = _running(deployment)
        volumes = deployment.pool.list()
        snapshot = Snapshot(
            name,
            deployment.site.site,
            time.time(),
            {volume.name: str(volume.backing or "") for volume in volumes},
            {machine.name: machine_id(deployment.folder_of(machine)) for machine in deployment.machines},
        )
        with store.new(snapshot) as folder:
            for file in _FILES:
                _copy(deployment.folder / file, folder / "files" / file)
            with bus.step("hold still", where=where), quiet(running, deployment), bus.step("copy disks", where=where):
                names = [volume.name for volume in volumes]
                each(names, lambda one: deployment.pool.save(one, folder / "volumes" / one), workers=_COPIES)
    return store.find(name)


def restore_snapshot(deployment: Deployment, name: str, *, timeout_s: float) -> Deployment:
    """Bring the site back to the snapshot; on return the services of all its machines answer.

    What machines wrote since is gone. May be killed at any moment: the site then boots no more until this was called
    again. Raises SystemSaidNo or TimedOut as `up` does, and GridvisorError should a machine have the disk of another.
    """
    require_root()
    places, site = deployment.host.places, deployment.site.site
    store = SnapshotStore(places, site)
    bus = deployment.host.bus
    with deployment.held():
        snapshot = store.find(name)
        write_whole(deployment.folder / RESTORING, name)
        with bus.step("end machines", where=site):
            for row in deployment.rows().values():
                deployment.host.monitor.destroy(row.name)
        with bus.step("put disks back", where=site):
            for volume in deployment.pool.list():
                if volume.name not in snapshot.volumes:
                    deployment.pool.remove(volume.name)
            for volume_name in snapshot.volumes:
                deployment.pool.load(volume_name, store.volume_folder(snapshot, volume_name))
            for file in _FILES:
                _copy(store.files_folder(snapshot) / file, deployment.folder / file)
        (deployment.folder / RESTORING).unlink()
    restored = open_deployment(deployment.host, site)
    up(restored, lambda _: None, timeout_s=timeout_s)
    _require_own_disks(restored, snapshot)
    return restored


def list_snapshots(deployment: Deployment) -> tuple[Snapshot, ...]:
    """The site's snapshots, oldest first."""
    return SnapshotStore(deployment.host.places, deployment.site.site).list()


def remove_snapshot(deployment: Deployment, name: str) -> None:
    """Remove a snapshot. Raises Refused when there is none of that name."""
    require_root()
    with deployment.held():
        SnapshotStore(deployment.host.places, deployment.site.site).remove(name)


def _running(deployment: Deployment) -> list[Machine]:
    rows = deployment.rows()
    for name, row in rows.items():
        if row.state not in (State.RUNNING, State.CRASHED):
            hint = f"gridvisor domain unpause {row.name}, or gridvisor down"
            raise Refused(f"'{name}' is {row.state}: what it has in memory would be lost.", hint=hint)
    return [one for one in deployment.machines if one.name in rows and rows[one.name].state is State.RUNNING]


def _copy(source: Path, target: Path) -> None:
    """Make `target` what `source` is: a file, a folder, or nothing."""
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        shutil.copy2(source, target)


def _require_own_disks(deployment: Deployment, snapshot: Snapshot) -> None:
    """Ask each machine who it is: that of a machine that the snapshot has is on its disk since before."""

    def check(machine: Machine) -> None:
        said = deployment.ssh(machine).run(Command.of("cat", "/etc/machine-id"), timeout_s=_ASK_S).stdout.strip()
        if said != snapshot.machine_ids.get(machine.name, said):
            raise GridvisorError(f"'{machine.name}' has the disk of another machine: its id is {said}.")

    with deployment.host.bus.step("whose disk is whose", where=deployment.site.site):
        each(deployment.machines, check)
