"""Which images must stay, since machines stand on them; and the removal of those that need not."""

from __future__ import annotations

from collections.abc import Sequence

from gridvisor.app.host import Host
from gridvisor.app.site.opening import load_known_site, monitor_of, site_file, site_names
from gridvisor.core.places import Places
from gridvisor.image.recipe import image_name
from gridvisor.image.store import ImageStore
from gridvisor.storage.files import FilePool, groups
from gridvisor.storage.snapshots import images_of_snapshots


def images_in_use(places: Places) -> frozenset[str]:
    """The ids of the images that volumes are copies of, those in snapshots too; they must stay as they are."""
    volumes = [volume for group in groups(places) for volume in FilePool(places, group).list()]
    images = {volume.backing for volume in volumes if volume.backing is not None} | images_of_snapshots(places)
    return frozenset(image.parent.name for image in images) | _images_of_far_sites(places)


def _images_of_far_sites(places: Places) -> frozenset[str]:
    """The ids of all images that machines of sites may have whose disks are not on this machine, as on Xen: a machine
    whose image is gone would be made anew."""
    names = set()
    for known in site_names(places):
        if monitor_of(places, known) not in (None, Host.uri):
            site, machines = load_known_site(places, site_file(places, known))
            names |= {image_name(site.release, machine.role.name) for machine in machines}
    return frozenset(image.id for image in ImageStore(places).list() if image.name in names)


def remove_images(store: ImageStore, places: Places, names: Sequence[str]) -> None:
    """Remove the images of these names or ids. Raises Refused for one that volumes are copies of."""
    used = images_in_use(places)
    for image in [store.find(name) for name in names]:
        store.remove(image, in_use=used)
