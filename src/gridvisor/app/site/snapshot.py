"""Snapshots of a whole site: the disks of all machines, and on Xen their memory, of one moment; and back to it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from gridvisor.app.host import require_root
from gridvisor.app.site.clock import set_clocks
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import load_site_of, open_deployment
from gridvisor.app.site.quiet import NOTE
from gridvisor.app.site.record import read_record, write_record
from gridvisor.app.site.restoring import RESTORING, require_whole, restored_from
from gridvisor.app.site.still import clear_left, still_of
from gridvisor.app.site.up import Recipes, up
from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.files import write_whole
from gridvisor.core.parallel import each
from gridvisor.identity.keys import machine_id
from gridvisor.monitor.protocol import NoSuchDomain, State
from gridvisor.run.command import Command
from gridvisor.site.check import CANDIDATE_ROLES
from gridvisor.site.machine import Machine
from gridvisor.storage.snapshots import Snapshot, SnapshotStore

# What of the site's folder says what the site is. Keys and certificates are not rolled back: the CA must not give a
# serial number twice, and a machine that boots gets a fresh identity anyway.
_FILES = ("site.yaml", "addresses.json", "ids.json", "roles", CANDIDATE_ROLES)
_ASK_S = 30.0


def take_snapshot(deployment: Deployment, name: str) -> Snapshot:
    """Keep the site as it is now: machines that run stand still together while their disks are kept.

    With them is kept what they have in memory, where the monitor can. Of a disk only what differs from its image is
    copied, and not even that where blocks can be shared. Kept is the site that is there, whatever its file says by now.
    Raises Refused for a name that is taken, while a machine neither runs nor is down, or runs and is of the site no
    more, and when there is no room.
    """
    require_root()
    store = SnapshotStore(deployment.host.places, deployment.site.site)
    bus, where = deployment.host.bus, deployment.site.site
    with deployment.held():
        require_whole(deployment)
        store.require_new(name)
        deployment = open_deployment(deployment.host, where)
        still, pool = still_of(deployment), deployment.pool
        clear_left(deployment, store)  # what a killed run left takes room, and may have guests wait
        running = _running(deployment)
        volumes = pool.list()
        saving = pool.saving([volume.name for volume in volumes])
        memory_bytes = still.require_room(running)
        snapshot = Snapshot(
            name,
            deployment.site.site,
            time.time(),
            {volume.name: str(volume.backing or "") for volume in volumes},
            {machine.name: machine_id(deployment.folder_of(machine)) for machine in deployment.machines},
            used_bytes=saving.beside_bytes + memory_bytes,
            with_memory=[machine.name for machine in running] if still.keeps_memory else [],
        )
        with _nothing_left(deployment, store), store.new(snapshot) as folder:
            _keep_files(deployment, snapshot, folder / "files")
            hold = still.hold(name, running, copied_bytes=saving.copied_bytes)
            with bus.step("hold still", where=where), hold, bus.step("copy disks", where=where):
                pool.save({volume.name: folder / "volumes" / volume.name for volume in volumes})
    return store.find(name)


def restore_snapshot(deployment: Deployment, name: str, *, timeout_s: float) -> Deployment:
    """Bring the site back to the snapshot; on return the services of all its machines answer.

    Machines that were kept with their memory go on from there, the others boot. What they wrote since is gone. May be
    killed at any moment: the site then boots no more until this was called again. Raises SystemSaidNo or TimedOut as
    `up` does, and GridvisorError should a machine have the disk of another. Before anything was done, raises Refused
    when the image of a machine has become another, and GridvisorError when a disk that was kept is there no more.
    """
    require_root()
    places, site = deployment.host.places, deployment.site.site
    store = SnapshotStore(places, site)
    bus = deployment.host.bus
    with deployment.held():
        snapshot, pool = store.find(name), deployment.pool
        kept = {volume: store.volume_folder(snapshot, volume) for volume in snapshot.volumes}
        _require_images(deployment, snapshot, store.files_folder(name))
        pool.require_saved(kept)
        if deployment.host.make_ready():
            set_clocks(deployment.host)
        clear_left(deployment, store)  # waits for one that was killed here, and has not ended over there
        write_whole(deployment.folder / RESTORING, name)
        with bus.step("end machines", where=site):
            each([row.name for row in deployment.rows().values()], partial(_end, deployment))
        with bus.step("put disks back", where=site):
            for volume in pool.list():
                if volume.name not in snapshot.volumes:
                    pool.remove(volume.name)
            pool.load(kept)
            for file in _FILES:
                _copy(store.files_folder(name) / file, deployment.folder / file)
        restored = open_deployment(deployment.host, site)
        still_of(restored).bring_back(snapshot, store.files_folder(name))
        (deployment.folder / RESTORING).unlink()
    up(restored, lambda _: None, timeout_s=timeout_s)
    _require_own_disks(restored, snapshot)
    return restored


def list_snapshots(deployment: Deployment) -> tuple[Snapshot, ...]:
    """The site's snapshots, oldest first."""
    return SnapshotStore(deployment.host.places, deployment.site.site).list()


def remove_snapshot(deployment: Deployment, name: str) -> None:
    """Remove a snapshot. Raises Refused when there is none of that name, and while a restore of it is not finished."""
    require_root()
    with deployment.held():
        if restored_from(deployment.folder) == name:
            require_whole(deployment)
        store = SnapshotStore(deployment.host.places, deployment.site.site)
        store.remove(name)
        clear_left(deployment, store)


@contextmanager
def _nothing_left(deployment: Deployment, store: SnapshotStore) -> Iterator[None]:
    """When the body fails, remove what the host has of it; should that fail as well, the next command does."""
    try:
        yield
    except BaseException:
        with suppress(GridvisorError):
            clear_left(deployment, store)
        raise


def _end(deployment: Deployment, domain: str) -> None:
    with suppress(NoSuchDomain):  # it has powered off meanwhile
        deployment.host.monitor.destroy(domain)


def _keep_files(deployment: Deployment, snapshot: Snapshot, folder: Path) -> None:
    """What the site is, and what those of its machines were told that are kept with their memory."""
    for file in _FILES:
        _copy(deployment.folder / file, folder / file)
    rows = deployment.rows()
    for machine in deployment.machines:
        record = read_record(deployment.folder_of(machine))
        if machine.name in snapshot.with_memory and record is not None and record.of(rows[machine.name]):
            (folder / "machines" / machine.name).mkdir(parents=True)
            write_record(folder / "machines" / machine.name, record)


def _running(deployment: Deployment) -> list[Machine]:
    rows = deployment.rows()
    known = {machine.name for machine in deployment.machines}
    for name, row in rows.items():
        if name not in known:
            raise Refused(f"'{name}' is of the site no more, and runs.", hint=f"gridvisor up {deployment.site.site}")
        if row.state not in (State.RUNNING, State.CRASHED):
            hint = f"gridvisor domain unpause {row.name}, or gridvisor down"
            raise Refused(f"'{name}' is {row.state}: what it has in memory would be lost.", hint=hint)
    return [one for one in deployment.machines if one.name in rows and rows[one.name].state is State.RUNNING]


def _copy(source: Path, target: Path) -> None:
    """Make `target` what `source` is: a file, a folder, or nothing."""
    if source.is_file():
        write_whole(target, source.read_bytes())
        return
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)


def _require_images(deployment: Deployment, snapshot: Snapshot, files: Path) -> None:
    """Raise Refused if `up` would throw away a disk of the snapshot for one of a newer image."""
    site, machines = load_site_of(files)
    recipes = Recipes(Deployment(deployment.host, site, machines))
    for machine in machines:
        was, image = snapshot.volumes.get(f"{machine.name}-disk"), recipes.image(machine)
        if was is not None and (image is None or str(image.path) != was):
            raise Refused(
                f"The disk of '{machine.name}' in '{snapshot.name}' is over the image {Path(was).parent.name}, "
                f"and that of its role is {image.id if image else 'yet to be built'} now.",
                hint=f"gridvisor image rm {image.id}" if image else "its packages are others, or gridvisor is another",
            )


def _require_own_disks(deployment: Deployment, snapshot: Snapshot) -> None:
    """Ask each machine that the snapshot has who it is, and whose disk it has."""

    def check(machine: Machine) -> None:
        # The identity gives any disk the machine's own id; the note is as old as the disk. One that was full, or
        # down when it was kept, may have none.
        # And it is read from the disk: what is in memory may be of another time than that.
        ask = Command.of("sh", "-c", f"cat /etc/machine-id; dd if={NOTE} bs=4096 iflag=direct 2>/dev/null || :")
        said = deployment.ssh(machine).run(ask, timeout_s=_ASK_S).stdout.split()
        if strange := set(said) - {snapshot.machine_ids[machine.name]}:
            raise GridvisorError(f"'{machine.name}' has the disk of another machine: its id is {', '.join(strange)}.")

    with deployment.host.bus.step("whose disk is whose", where=deployment.site.site):
        each([machine for machine in deployment.machines if machine.name in snapshot.machine_ids], check)
