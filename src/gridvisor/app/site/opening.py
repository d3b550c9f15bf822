"""From what the user named to a site on this host: a site file, or a site that was brought up before."""

from __future__ import annotations

import shutil
from pathlib import Path

from gridvisor.app.host import Host, network_name
from gridvisor.app.site.addresses import keep_addresses, read_addresses
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.ids import keep_ids
from gridvisor.app.site.restoring import RESTORING, restored_from
from gridvisor.app.xen_host import host_at
from gridvisor.core.errors import Refused
from gridvisor.core.files import write_whole
from gridvisor.core.places import Places
from gridvisor.network.dom0 import forget as forget_network
from gridvisor.site.check import read_site
from gridvisor.site.machine import Machine, expand
from gridvisor.site.model import Site
from gridvisor.storage.snapshots import SnapshotStore

DEFAULT_FILE = Path("site.yaml")
_FILE = "site.yaml"
_MONITOR = "monitor"
_ROLES = "roles"


def site_names(places: Places) -> tuple[str, ...]:
    """The sites that were brought up here and not destroyed since."""
    root = places.state / "sites"
    return tuple(sorted({path.parent.name for file in (_FILE, RESTORING) for path in root.glob(f"*/{file}")}))


def site_file(places: Places, named: str | None) -> Path:
    """The site file that `named` means: a path, the name of a known site, or if None the obvious one.

    Raises Refused when there is none, or when it could be several.
    """
    names = site_names(places)
    if named is None:
        if DEFAULT_FILE.exists():
            return DEFAULT_FILE
        if len(names) == 1:
            return _file_of(places, names[0])
        raise Refused(
            "Which site? There is no site.yaml here" + (f", and {len(names)} sites are up." if names else "."),
            hint=f"name one: {', '.join(names)}" if names else "gridvisor up examples/kiam.yaml",
        )
    if named in names:
        return _file_of(places, named)
    path = Path(named)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or "/" in named:
        raise Refused(f"There is no file '{named}'.")
    known = f"known sites: {', '.join(names)}" if names else "no site was brought up yet: gridvisor up FILE"
    raise Refused(f"There is neither a site nor a file '{named}'.", hint=known)


def _file_of(places: Places, site: str) -> Path:
    """The file of a known site: while a restore puts its files in place, the snapshot's, which are of one time."""
    folder = places.state / "sites" / site
    name = restored_from(folder)
    kept = None if name is None else SnapshotStore(places, site).files_folder(name) / _FILE
    return kept if kept is not None and kept.exists() else folder / _FILE


def open_deployment(host: Host, named: str | None) -> Deployment:
    """The site that `named` means (see `site_file`), read and checked. Raises InputError with all its problems."""
    site, machines = load_known_site(host.places, site_file(host.places, named))
    return deployed(host, site, machines)


def deployed(host: Host, site: Site, machines: tuple[Machine, ...], monitor: str | None = None) -> Deployment:
    """The site where its machines run, as seen from `host`: where it was brought up before, else on the `monitor` of
    that URI, else where its file says. Raises Refused when these are not the same."""
    wanted = monitor or site.monitor
    kept = monitor_of(host.places, site.site)
    if kept is None:
        return Deployment(host_at(host, wanted), site, machines)
    if wanted not in ("auto", kept):
        raise Refused(
            f"The site '{site.site}' runs on '{kept}', not on '{wanted}'.", hint=f"gridvisor destroy {site.site}"
        )
    return Deployment(host_at(host, kept), site, machines)


def monitor_of(places: Places, name: str) -> str | None:
    """The URI of the monitor that the known site runs on; None where it was never brought up."""
    try:
        return (places.state / "sites" / name / _MONITOR).read_text().strip()
    except FileNotFoundError:
        return None


def forget_sites(places: Places, monitor: str) -> None:
    """Forget the sites on the monitor of that URI, which is about to go with all that is in it."""
    for name in site_names(places):
        if monitor_of(places, name) == monitor:
            SnapshotStore(places, name).remove_all()
            forget_network(places, network_name(name))
            shutil.rmtree(places.state / "sites" / name)


def load_site_of(folder: Path) -> tuple[Site, tuple[Machine, ...]]:
    """The site whose file, roles and addresses are all in that folder."""
    site, roles = read_site(folder / _FILE)
    return site, expand(site, roles, read_addresses(folder))


def load_known_site(places: Places, file: Path) -> tuple[Site, tuple[Machine, ...]]:
    """The site of that file, whose machines keep the addresses that they have on this host. See `read_site`."""
    site, roles = read_site(file)
    return site, expand(site, roles, read_addresses(places.state / "sites" / site.site))


def keep_site_file(deployment: Deployment, file: Path) -> None:
    """Keep a copy of the site file and of the roles beside it, by which all other commands know the site, and the
    addresses and ids that its machines and users get."""
    folder = deployment.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep_addresses(folder, deployment.machines)
    keep_ids(folder, deployment.ids)
    write_whole(folder / _MONITOR, f"{deployment.host.uri}\n")
    if file.resolve().parent == folder.resolve():
        return
    own, new, old = folder / _ROLES, folder / f".{_ROLES}", folder / f".{_ROLES}.old"
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    if (file.parent / _ROLES).is_dir():
        shutil.copytree(file.parent / _ROLES, new, symlinks=True)
    # Moved aside, not removed: killed in between, the site has its old roles, or its new ones.
    if own.is_dir():
        own.rename(old)
    if new.is_dir():
        new.rename(own)
    shutil.rmtree(old, ignore_errors=True)
    write_whole(folder / _FILE, file.read_bytes())
