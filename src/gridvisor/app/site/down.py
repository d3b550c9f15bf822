"""The ends of a site: `down` keeps what its machines wrote, `destroy` keeps nothing but, if asked to, data."""

from __future__ import annotations

import shutil
from contextlib import suppress

from gridvisor.app.host import require_root
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.guest import site_volumes
from gridvisor.app.site.order import waves
from gridvisor.app.site.still import clear_left
from gridvisor.app.wait import wait_until_gone
from gridvisor.core.errors import Refused, TimedOut
from gridvisor.monitor.protocol import NoSuchDomain, State, VolumeUse
from gridvisor.storage.snapshots import SnapshotStore


def down(deployment: Deployment, *, timeout_s: float) -> tuple[str, ...]:
    """Ask all machines to power off, those first that others need to the last; volumes and keys stay.

    Those that have not after `timeout_s`, each from when it was asked, are ended: gives back their names.
    """
    require_root()
    ended: list[str] = []
    with deployment.held():
        with deployment.host.bus.step("power off", where=deployment.site.site):
            for names in waves(deployment.machines):
                ended += _power_off(deployment, [name for name in deployment.rows() if name in names], timeout_s)
            ended += _power_off(deployment, list(deployment.rows()), timeout_s)
        deployment.network.remove_if_idle(lambda: bool(deployment.rows()))
    return tuple(ended)


def destroy(deployment: Deployment, *, keep_data: bool) -> None:
    """End all machines at once and remove volumes, snapshots, keys, certificates and network of this site, and nothing
    else.

    With `keep_data` its data volumes stay, and the site's next life finds them.
    """
    require_root()
    with deployment.held():
        bus, where = deployment.host.bus, deployment.site.site
        with bus.step("end machines", where=where):
            for row in deployment.rows().values():
                with suppress(NoSuchDomain):
                    deployment.host.monitor.destroy(row.name)
            for machine in deployment.machines:
                deployment.host.monitor.forget(deployment.domain_name(machine))
        with bus.step("remove volumes", where=where):
            kept = data_volumes(deployment) if keep_data else ()
            for volume in deployment.pool.list():
                if volume.name not in kept:
                    deployment.pool.remove(volume.name)
        snapshots = SnapshotStore(deployment.host.places, where)
        snapshots.remove_all()
        clear_left(deployment, snapshots)
        deployment.network.remove_if_idle(lambda: False)
        shutil.rmtree(deployment.folder, ignore_errors=True)


def data_volumes(deployment: Deployment) -> tuple[str, ...]:
    """The names of the site's volumes that hold users' data: all but those that its machines boot from or swap to."""
    replaceable = {
        volume.name
        for machine in deployment.machines
        for volume in site_volumes(machine)
        if volume.use is not VolumeUse.DATA
    }
    return tuple(
        volume.name
        for volume in deployment.pool.list()
        if volume.name not in replaceable and not volume.name.endswith(("-disk", "-swap"))
    )


def _power_off(deployment: Deployment, names: list[str], timeout_s: float) -> list[str]:
    """Power these machines off; gives back the names of those that had to be ended."""
    monitor = deployment.host.monitor
    rows = {name: row for name, row in deployment.rows().items() if name in names}
    live = [row.name for row in rows.values() if row.state is State.RUNNING]
    for row in rows.values():
        try:
            if row.state is State.RUNNING:
                monitor.shutdown(row.name)
            else:
                monitor.destroy(row.name)
        except NoSuchDomain:
            pass  # it has ended meanwhile
        except Refused as error:  # such as of one that hangs: it is ended below
            deployment.host.bus.warn(error.message)
    ended = []
    try:
        wait_until_gone(deployment.host, live, timeout_s=timeout_s)
    except TimedOut as error:
        deployment.host.bus.warn(f"{error.message}; ended as if the power failed")
        for name, row in deployment.rows().items():
            if row.name in live:
                with suppress(NoSuchDomain):
                    monitor.destroy(row.name)
                    ended.append(name)
    return ended
