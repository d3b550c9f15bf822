"""A site comes back from a snapshot wherever the restore was killed, and no disk of it becomes another's."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_lvm import FakeLvm
from gridvisor.app.host import Host
from gridvisor.app.site import snapshot as story
from gridvisor.app.site import still as stillness
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.down import destroy
from gridvisor.app.site.opening import keep_site_file, open_deployment
from gridvisor.app.site.record import Record, read_record, write_record
from gridvisor.app.site.restoring import require_whole
from gridvisor.core.errors import GridvisorError, Refused, SystemSaidNo
from gridvisor.core.events import Bus
from gridvisor.core.files import write_whole
from gridvisor.core.places import Places
from gridvisor.monitor.protocol import DomainRow, NoSuchDomain, State
from gridvisor.network.namespace import HostNetwork
from gridvisor.run.local import Local
from gridvisor.site.machine import Machine
from gridvisor.storage.lvm import LvmPool
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

    def held(self) -> dict[str, str]:
        """What is in the volumes."""
        return {volume.name: volume.path.read_text() for volume in self.site.pool.list()}

    def seen(self) -> dict[str, str]:
        """Volumes with what they hold, and the site's files."""
        held, folder = self.held(), self.site.folder
        files = [folder / "site.yaml", folder / "addresses.json", *sorted((folder / "roles").rglob("*.yaml"))]
        return held | {str(path.relative_to(folder)): path.read_text() for path in files}


class Memory:
    """A monitor.protocol.Memory in a folder; what guests have in memory is the text of a file."""

    def __init__(self, folder: Path, domains: Domains) -> None:
        self.folder = folder
        self.domains = domains
        self.now = folder / "now"
        self.now.mkdir(parents=True)
        self.broken: dict[str, str] = {}
        self.gone_on: list[str] = []

    def require_room(self, rows: Sequence[DomainRow]) -> int:
        return sum(row.memory_mib for row in rows) << 20

    @contextmanager
    def hold(self, snapshot: str, domains: Sequence[str], *, longest_s: float) -> Iterator[None]:
        for name in domains:
            kept = self.folder / "kept" / snapshot
            kept.mkdir(parents=True, exist_ok=True)
            write_whole(kept / name, (self.now / name).read_text())
        yield

    def bring_back(self, snapshot: str, domains: Sequence[str]) -> Mapping[str, str]:
        for name in domains:
            assert name not in self.domains.rows
            if name not in self.broken:
                write_whole(self.now / name, (self.folder / "kept" / snapshot / name).read_text())
                self.domains.run(name)
                self.gone_on.append(name)
        return {name: why for name, why in self.broken.items() if name in domains}

    def clear(self, snapshots: Collection[str]) -> None:
        for folder in (self.folder / "kept").glob("*"):
            if folder.name not in snapshots:
                shutil.rmtree(folder)


class XenWorld(World):
    """The same on a host with LVM, whose monitor can keep memory."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lvm = FakeLvm(folder, thin=True)
        monkeypatch.setenv("PATH", f"{self.lvm.bin}:{os.environ['PATH']}")
        monkeypatch.setattr(Host, "pool", lambda host, group: self.pool(group))
        monkeypatch.setattr(Host, "memory", lambda host, group: self.memory)
        monkeypatch.setattr(HostNetwork, "ensure", lambda _: None)
        self.stopped: list[str] = []
        connection = lambda _, machine: SimpleNamespace(stop=lambda: self.stopped.append(machine.name))  # noqa: E731
        monkeypatch.setattr(Deployment, "ssh", connection)
        self.settled: list[str] = []
        monkeypatch.setattr(stillness, "settle", lambda machine, _: self.settled.append(machine.name))
        self.folder = folder
        super().__init__(folder)
        self.memory = Memory(folder / "memory", self.domains)
        for name in ("se", "mon"):
            (self.memory.now / f"kiam.{name}").write_text("first")
            self.domains.run(f"kiam.{name}")

    def pool(self, group: str) -> LvmPool:
        def fill(image: Path, device: str, *, is_empty: bool) -> None:
            self.lvm.put(Path(device).name, "image")

        return LvmPool(Local(), "vg0", group, fill=fill, locks=self.folder / "locks")

    def write(self, text: str) -> None:
        for volume in self.site.pool.list():
            self.lvm.put(f"site.kiam.{volume.name}", f"{volume.name} {text}")
        if text != "first":
            for file in self.memory.now.glob("[!.]*"):
                file.write_text(text)

    def held(self) -> dict[str, str]:
        names = [volume.name for volume in self.site.pool.list()]
        held = {name: self.lvm.volumes[f"site.kiam.{name}"]["content"] for name in names}
        return held | {file.name: file.read_text() for file in self.memory.now.glob("[!.]*")}

    def left(self) -> list[str]:
        """What the host has of snapshots."""
        kept = [path.name for path in (self.memory.folder / "kept").glob("*")]
        return kept + [name for name in self.lvm.volumes if name.startswith("gridvisor.snapshot.")]


@contextmanager
def still(_: object, __: object) -> Iterator[None]:
    """Instead of guests that hold still."""
    yield


def prepared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing of the story run for real but what it does itself."""

    def boot(deployment: Deployment, *_: object, **__: object) -> None:
        require_whole(deployment)
        for machine in deployment.machines:
            world.domains.run(deployment.domain_name(machine))

    monkeypatch.setattr(story, "require_root", lambda: None)
    monkeypatch.setattr(story, "up", boot)
    monkeypatch.setattr(stillness, "quiet", still)
    monkeypatch.setattr(story, "_require_own_disks", lambda *_: None)
    monkeypatch.setattr(story, "Recipes", lambda _: SimpleNamespace(image=lambda _: SimpleNamespace(path=world.image)))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    prepared(world, monkeypatch)
    return world


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> XenWorld:
    world = XenWorld(tmp_path, monkeypatch)
    prepared(world, monkeypatch)
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


def test_a_disk_that_is_kept_no_more_is_told_of_before_anything_is_ended(world: World) -> None:
    story.take_snapshot(world.site, "before")
    world.change()
    world.domains.run("kiam.ui")
    seen = world.seen()
    store = SnapshotStore(world.host.places, "kiam")
    (store.volume_folder(store.find("before"), "se-data") / "volume.json").unlink()
    with pytest.raises(GridvisorError, match=r"'site\.kiam/se-data' is not there any more"):
        restore(world)
    assert world.seen() == seen
    assert "kiam.ui" in world.domains.rows
    require_whole(world.site)


def test_a_machine_that_ends_by_itself_does_not_break_a_restore_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.seen()
    story.take_snapshot(world.site, "before")
    world.change()
    world.domains.run("kiam.ui")
    end = world.domains.destroy

    def has_ended(name: str) -> None:
        end(name)
        raise NoSuchDomain(name)

    monkeypatch.setattr(world.domains, "destroy", has_ended)
    restore(world)
    assert world.seen() == before


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
    seen = world.seen()
    with pytest.raises(Refused, match="must not become"):
        restore(world)
    assert world.seen() == seen
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


def test_on_xen_memory_comes_back_and_the_machines_go_on(xen: XenWorld) -> None:
    before = xen.seen()
    taken = story.take_snapshot(xen.site, "before")
    assert (xen.settled, taken.with_memory, taken.used_bytes >> 20) == (["se", "mon"], ["se", "mon"], 128)
    for _ in range(2):
        xen.write("second")
        restore(xen)
        assert xen.seen() == before
        assert (sorted(xen.memory.gone_on), sorted(xen.stopped)) == (["kiam.mon", "kiam.se"], ["mon", "se"])
        xen.memory.gone_on.clear()
        xen.stopped.clear()
    story.remove_snapshot(xen.site, "before")
    assert xen.left() == []


def test_a_machine_that_is_down_is_kept_without_memory(xen: XenWorld) -> None:
    xen.domains.destroy("kiam.mon")
    (xen.memory.now / "kiam.mon").unlink()
    assert story.take_snapshot(xen.site, "before").with_memory == ["se"]
    restore(xen)
    assert xen.memory.gone_on == ["kiam.se"]
    assert sorted(xen.domains.rows) == ["kiam.mon", "kiam.se"], "it boots, as all of a site do"


def test_a_machine_that_cannot_go_on_boots_and_is_told_of(xen: XenWorld) -> None:
    story.take_snapshot(xen.site, "before")
    xen.memory.broken["kiam.se"] = "Xen is another now"
    said: list[str] = []
    xen.host.bus = Bus(lambda event: said.append(str(event)))
    restore(xen)
    assert any("It boots, and does not go on: Xen is another now" in one for one in said)
    assert xen.memory.gone_on == ["kiam.mon"]


def test_what_a_machine_was_told_is_known_in_its_new_life(xen: XenWorld) -> None:
    folders = {machine.name: xen.site.folder_of(machine) for machine in xen.site.machines}
    for name, since_s in (("se", 1.0), ("mon", 0.5)):  # that of mon is of another life
        folders[name].mkdir(parents=True, exist_ok=True)
        write_record(folders[name], Record(since_s, {"/etc/then": "1"}, ready_s=2.0))
    story.take_snapshot(xen.site, "before")
    write_record(folders["se"], Record(1.0, {"/etc/now": "2"}, ready_s=3.0))
    restore(xen)
    assert read_record(folders["se"]) == Record(1.0, {"/etc/then": "1"})
    assert read_record(folders["mon"]) == Record(0.5, {"/etc/then": "1"}, ready_s=2.0)


def test_on_xen_what_is_killed_at_any_step_is_done_by_the_next(xen: XenWorld) -> None:
    before, step = xen.seen(), 0
    while killed_at(step, lambda: story.take_snapshot(xen.site, "before")):
        assert story.list_snapshots(xen.site) == () or xen.left()
        for found in story.list_snapshots(xen.site):
            story.remove_snapshot(xen.site, found.name)
            assert xen.left() == []
        step += 1
    assert step > 15
    assert len(xen.left()) == 4, "the memory of a snapshot, and three volumes"
    step = 0
    xen.change()
    while killed_at(step, lambda: restore(xen)):
        if xen.site.folder.joinpath("restoring").exists():
            with pytest.raises(Refused, match="broken off"):
                story.take_snapshot(xen.site, "of two times")
        if step % 4 == 0:
            restore(xen)
            assert xen.seen() == before, step
            xen.change()
        step += 1
    assert step > 15
    assert len(xen.left()) == 4


def test_one_that_fails_leaves_nothing_on_the_host(xen: XenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def hold(_: object, __: object, ___: object, *, longest_s: float) -> Iterator[None]:
        assert longest_s >= 120
        yield
        raise SystemSaidNo("Guests went on before all was kept.")

    monkeypatch.setattr(Memory, "hold", hold)
    with pytest.raises(SystemSaidNo):
        story.take_snapshot(xen.site, "before")
    assert xen.left() == []
    assert story.list_snapshots(xen.site) == ()


def test_destroyed_with_the_site_is_what_the_host_has_of_its_snapshots(
    xen: XenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.take_snapshot(xen.site, "before")
    monkeypatch.setattr("gridvisor.app.site.down.require_root", lambda: None)
    monkeypatch.setattr(Domains, "forget", lambda *_: None, raising=False)
    monkeypatch.setattr(HostNetwork, "remove_if_idle", lambda *_: True)
    destroy(xen.site, keep_data=False)
    assert xen.left() == []
    assert [name for name in xen.lvm.volumes if name.startswith("site.")] == []
