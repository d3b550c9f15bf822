"""What does not fit the host is refused before anything of a site is made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from gridvisor.app.capacity import Room
from gridvisor.app.host import Host
from gridvisor.app.site import up as story
from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.monitor.fake import FakeMonitor
from gridvisor.site.check import SHIPPED
from gridvisor.site.machine import expand
from gridvisor.site.model import Site
from gridvisor.site.role import find_roles


class Begun(Exception):
    """Nothing was refused: the images are being built."""


Up = Callable[..., None]


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Up:
    """Brings up a site of one machine of 100 MiB, with a data volume of 1 GiB, on a host with that room."""
    monkeypatch.setattr(Deployment, "held", lambda _: nullcontext())

    def begun(*_: object) -> None:
        raise Begun

    monkeypatch.setattr(story, "_images", begun)
    host = Host(Places(tmp_path / "c", tmp_path / "s"), Bus())
    host.monitor = FakeMonitor(tmp_path)
    host.make_ready = lambda: False  # type: ignore[method-assign]

    def up(has: Room, *, kernel_mib: int = 0, **more: object) -> None:
        machine = {"role": "se", "memory": "100MiB", "volumes": {"data": "1GiB"}}
        site = Site.model_validate({"site": "a", "machines": {"se": machine}, **more})
        host.room = lambda: has  # type: ignore[method-assign]
        host.kernel_mib = kernel_mib
        deployment = Deployment(host, site, expand(site, find_roles((SHIPPED,))))
        story.up(deployment, lambda _: None, timeout_s=1)

    return up


def test_volumes_that_may_outgrow_the_disk_are_refused_unless_the_site_file_allows_it(up: Up) -> None:
    small = Room(10_000, 1 << 30)
    with pytest.raises(Refused, match="Not enough disk: new volumes would grow to 3 GiB") as refused:
        up(small)
    assert "'overcommit: true' in the site file" in (refused.value.hint or "")
    for has, more in ((small, {"overcommit": True}), (Room(10_000, 4 << 30), {})):
        with pytest.raises(Begun):
            up(has, **more)


def test_the_memory_of_a_larger_kernel_counts(up: Up) -> None:
    has = Room(100, 1 << 40, reserve_mib=0, overhead_mib=0)
    with pytest.raises(Begun):
        up(has)
    with pytest.raises(Refused, match="Not enough memory for 1 machine: 148 MiB in all"):
        up(has, kernel_mib=48)
