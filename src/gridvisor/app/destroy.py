"""The story of `domain destroy`."""

from __future__ import annotations

from gridvisor.app.host import Host
from gridvisor.app.network import leave, remove_idle_network
from gridvisor.app.volumes import users_of
from gridvisor.monitor.protocol import NoSuchDomain


def destroy_domain(host: Host, name: str, *, volumes: bool) -> None:
    """End the domain. With `volumes`, also remove its volumes in our pools, its keys and its address.

    Those are found by their names, `<name>-disk` and the like, so that they can be removed when the domain is gone.
    """
    machine = host.machines.find(name)
    try:
        used = [volume.path for volume in host.monitor.guest(name).volumes]
        if machine is not None:
            leave(machine, host)  # now, while nobody else can create a domain of that name and count on its lease
        host.monitor.destroy(name)
    except NoSuchDomain:
        if not volumes or machine is None:
            raise
        used = []
        leave(machine, host)
        host.monitor.forget(name)
    remove_idle_network(host)
    if not volumes:
        return
    others = users_of(host.monitor)  # after a rename, a volume's name may be that of another domain
    for group in host.groups():
        pool = host.pool(group)
        for volume in pool.list():
            mine = volume.path in used or volume.name in (f"{name}-disk", f"{name}-swap")
            if mine and volume.path not in others:
                pool.remove(volume.name)
                host.bus.note(f"volume {volume.label} is removed", where=name)
    host.machines.forget(name)
