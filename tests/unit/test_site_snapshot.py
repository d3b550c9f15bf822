"""A site comes back from a snapshot wherever the restore was killed, and no disk of it becomes another's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from gridvisor.app.host import Host
from gridvisor.app.site import snapshot as story
from gridvisor.app.site import still as stillness
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import keep_site_file, open_deployment
from gridvisor.app.site.restoring import require_whole
from gridvisor.core.errors import Refused, SystemSaidNo
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.monitor.protocol import DomainRow, State
from gridvisor.site.machine import Machine
from gridvisor.storage.snapshots import SnapshotStore

SITE = "site: kiam\nmachines:\n  se: {role: own}\n  mon:\n"
ROLE = "summary: Of the site alone.\npackages: [%s]\nmemory: 64MiB\n"
KILLED = 9
# What changes the disk, or has another process do so. A file that is written is seen when it is renamed.
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "subprocess.Popen"}


class Domains:
    """A monitor that shows what it was told runs, and ends it."""

    def __init__(self, namespace: str) -> None:
        self.rows: dict[str, DomainRow] = {}
        self.namespace = namespace

    def run(self, name: str, state: State = State.RUNNING) -> None:
        self.rows[name] = DomainRow(name, 1, 64, 1, state, 0.0, 1.0, namespace=self.namespace)

    def list(self) -> Sequence[DomainRow]:
        return tuple(self.rows.values())

    def destroy(self, name: str) -> None:
        del self.rows[name]


class World:
    """A site with disks, of which nothing runs for real."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "site.yaml"
        self.file.write_text(SITE)
        self.role("bash")
        self.host = Host(Places(folder / "cache", folder / "state"), Bus())
        self.host.make_ready = lambda: False  # type: ignore[method-assign]
        self.image = folder / "cache/images/a1/root.img"
        self.image.parent.mkdir(parents=True)
        self.image.write_bytes(b"image")
        keep_site_file(open_deployment(self.host, str(self.file)), self.file)
        self.domains = Domains(self.site.network.namespace)
        self.host.monitor = self.domains  # type: ignore[assignment]
        for machine in self.site.machines:
            self.site.pool.clone(f"{machine.name}-disk", self.image)
        self.site.pool.create("se-data", 1 << 20)
        self.write("first")

    @property
    def site(self) -> Deployment:
        return open_deployment(self.host, "kiam")

    def role(self, package: str) -> None:
        """Give the role beside the site file this package."""
        own = self.file.parent / "roles/own"
        own.mkdir(parents=True, exist_ok=True)
        (own / "role.yaml").write_text(ROLE % package)

    def write(self, text: str) -> None:
        """Have all volumes hold their name and `text`."""
        pool = self.site.pool
        for volume in pool.list():
            volume.path.write_text(f"{volume.name} {text}")

    def change(self) -> None:
        """One machine more and one less, another role, other data."""
        self.write("second")
        self.role("zsh")
        self.file.write_text(SITE.replace("mon:", "ui:"))
        keep_site_file(open_deployment(self.host, str(self.file)), self.file)
        self.site.pool.remove("mon-disk")
        self.site.pool.clone("ui-disk", self.image)
        self.write("second")

    def seen(self) -> dict[str, str]:
        """Volumes with what they hold, and the site's files."""
        held = {volume.name: volume.path.read_text() for volume in self.site.pool.list()}
        folder = self.site.folder
        files = [folder / "site.yaml", folder / "addresses.json", *sorted((folder / "roles").rglob("*.yaml"))]
        return held | {str(path.relative_to(folder)): path.read_text() for path in files}


@contextmanager
def still(_: object, __: object) -> Iterator[None]:
    """Instead of guests that hold still."""
    yield


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)

    def boot(deployment: Deployment, *_: object, **__: object) -> None:
        require_whole(deployment)
        for machine in deployment.machines:
            world.domains.run(deployment.domain_name(machine))

    monkeypatch.setattr(story, "require_root", lambda: None)
    monkeypatch.setattr(story, "up", boot)
    monkeypatch.setattr(stillness, "quiet", still)
    monkeypatch.setattr(story, "_require_own_disks", lambda *_: None)
    monkeypatch.setattr(story, "Recipes", lambda _: SimpleNamespace(image=lambda _: SimpleNamespace(path=world.image)))
    return world


def restore(world: World, name: str = "before") -> None:
    story.restore_snapshot(world.site, name, timeout_s=1)


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that ends, as if killed, before its change number `step`; False if it came through."""
    sys.stdout.flush()
    if not (child := os.fork()):
        done = 0

        def count(event: str, _: object) -> None:
            nonlocal done
            if event in CHANGES:
                done += 1
                if done > step:
                    os._exit(KILLED)

        status = 1
        try:
            sys.addaudithook(count)
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


def test_all_of_the_site_comes_back(world: World) -> None:
    before = world.seen()
    story.take_snapshot(world.site, "before")
    world.change()
    assert world.seen().keys() - before.keys() == {"ui-disk"}
    world.domains.run("kiam.ui")
    restore(world)
    assert world.seen() == before
    assert sorted(world.domains.rows) == ["kiam.mon", "kiam.se"]
    restore(world)
    assert world.seen() == before, "as often as one likes"


def test_a_restore_that_is_killed_at_any_step_ends_with_the_next(world: World) -> None:
    before, step = world.seen(), 0
    story.take_snapshot(world.site, "before")
    world.change()
    while killed_at(step, lambda: restore(world)):
        if (world.host.places.state / "sites/kiam/restoring").exists():
            with pytest.raises(Refused, match="broken off"):
                require_whole(world.site)
            with pytest.raises(Refused, match="broken off"):
                story.take_snapshot(world.site, "of two times")
            with pytest.raises(Refused, match="broken off"):
                story.remove_snapshot(world.site, "before")
        restore(world)
        assert world.seen() == before, step
        world.change()
        step += 1
    assert step > 20


def test_a_snapshot_that_is_killed_at_any_step_is_whole_or_not_there(world: World) -> None:
    before, step = world.seen(), 0
    while killed_at(step, lambda: story.take_snapshot(world.site, "before")):
        for found in story.list_snapshots(world.site):
            story.remove_snapshot(world.site, found.name)
        story.take_snapshot(world.site, "before")
        assert [path.name for path in (world.host.places.state / "snapshots/kiam").iterdir()] == ["before"]
        world.write("second")
        restore(world)
        assert world.seen() == before
        story.remove_snapshot(world.site, "before")
        step += 1
    assert step > 5


def test_one_guest_that_does_not_hold_still_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def restless(_: object, __: object) -> Iterator[None]:
        yield
        raise SystemSaidNo("'se' went on before all was copied.")

    monkeypatch.setattr(stillness, "quiet", restless)
    with pytest.raises(SystemSaidNo):
        story.take_snapshot(world.site, "before")
    assert story.list_snapshots(world.site) == ()
    assert list((world.host.places.state / "snapshots/kiam").iterdir()) == []


def test_those_that_run_hold_still_whatever_the_file_says_by_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    @contextmanager
    def quiet(machines: Sequence[Machine], _: object) -> Iterator[None]:
        asked.extend(machine.name for machine in machines)
        yield

    monkeypatch.setattr(stillness, "quiet", quiet)
    world.domains.run("kiam.se")
    world.domains.run("kiam.mon")
    world.file.write_text("site: kiam\nmachines: {mon: }\n")
    story.take_snapshot(open_deployment(world.host, str(world.file)), "before")
    assert asked == ["se", "mon"]


def test_what_runs_and_is_of_the_site_no_more_is_refused(world: World) -> None:
    world.domains.run("kiam.wn7")
    with pytest.raises(Refused, match="'wn7' is of the site no more"):
        story.take_snapshot(world.site, "before")


def test_a_paused_machine_is_refused(world: World) -> None:
    world.domains.run("kiam.se", State.PAUSED)
    with pytest.raises(Refused, match="in memory"):
        story.take_snapshot(world.site, "before")


def test_a_disk_of_another_is_not_put_in_place(world: World) -> None:
    story.take_snapshot(world.site, "before")
    volumes = world.host.places.state / "snapshots/kiam/before/volumes"
    (volumes / "se-disk").rename(volumes / "swapped")
    (volumes / "mon-disk").rename(volumes / "se-disk")
    (volumes / "swapped").rename(volumes / "mon-disk")
    with pytest.raises(Refused, match="must not become"):
        restore(world)
    with pytest.raises(Refused, match="broken off"):
        require_whole(world.site)


def test_a_newer_image_is_told_before_anything_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.domains.run("kiam.se")
    story.take_snapshot(world.site, "before")
    newer = SimpleNamespace(path=world.image.parent.with_name("b2") / "root.img", id="b2")
    monkeypatch.setattr(story, "Recipes", lambda _: SimpleNamespace(image=lambda _: newer))
    with pytest.raises(Refused, match="over the image a1, and that of its role is b2 now") as refused:
        restore(world)
    assert refused.value.hint == "gridvisor image rm b2"
    assert list(world.domains.rows) == ["kiam.se"]
    require_whole(world.site)


def test_destroyed_with_the_site_are_those_that_were_not_finished_too(world: World) -> None:
    story.take_snapshot(world.site, "before")
    left = world.host.places.state / "snapshots/kiam/.work-after/volumes"
    left.mkdir(parents=True)
    SnapshotStore(world.host.places, "kiam").remove_all()
    assert not left.parents[1].exists()


def test_the_record_says_which_machines_and_images(world: World) -> None:
    story.take_snapshot(world.site, "before")
    record = json.loads((world.host.places.state / "snapshots/kiam/before/snapshot.json").read_text())
    assert record["volumes"] == {"mon-disk": str(world.image), "se-disk": str(world.image), "se-data": ""}
    assert len({record["machine_ids"]["se"], record["machine_ids"]["mon"]}) == 2
