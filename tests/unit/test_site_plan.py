"""What `up` decides from what is there, and the ends of a site, all without a guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gridvisor.app.host import Host
from gridvisor.app.site import down as ends
from gridvisor.app.site import up as ups
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.down import data_volumes, destroy, down
from gridvisor.app.site.order import needed_first, waves
from gridvisor.app.site.plan import Act, Desired, Observed, Step, changed_files, differences, plan
from gridvisor.app.site.record import Record, digests, note_ready, read_record, write_record
from gridvisor.app.site.up import observe
from gridvisor.core.errors import Refused
from gridvisor.core.events import Bus, Event, Kind
from gridvisor.core.places import Places
from gridvisor.domain.model import Domain, Vif
from gridvisor.identity.model import IdentityFile, IdentityFolder, IdentityLink
from gridvisor.monitor.fake import FakeMonitor
from gridvisor.monitor.protocol import Attachment, DomainRow, Guest, Nic, State, VolumeUse
from gridvisor.site.check import SHIPPED
from gridvisor.site.machine import Machine, expand
from gridvisor.site.model import Site
from gridvisor.site.role import Role, find_roles

ROLES = find_roles((SHIPPED,))
SITE = Site.model_validate({"site": "a", "machines": {"ui": {}, "ce": {}, "wn": {"count": 2}, "se": {}, "mon": {}}})
MACHINES = expand(SITE, ROLES)
[UI] = [machine for machine in MACHINES if machine.name == "ui"]

ROW = DomainRow("a.ui", 1, 144, 1, State.RUNNING, 0.0, 1000.0)
ROOT = Attachment(VolumeUse.ROOT, Path("/v/ui-disk"), True, Path("/images/1"))
GUEST = Guest(Domain("a.ui", 144), (ROOT,), (Nic("00:16:3e:00:00:01", "tap"),), "gv", "10.20.0.7", "old identity")
FILES = {"/etc/a": "1", "/etc/b": "2"}
WANT = Desired(GUEST, FILES)
WELL = Observed(ROW, GUEST, Record(1000.0, FILES, ready_s=1010.0), has_root=True)


def step(observed: Observed | None, desired: Desired | None = WANT) -> Step | None:
    """The step for 'ui', if there is one."""
    steps = plan([UI], {} if observed is None else {"ui": observed}, lambda _: desired)
    assert len(steps) < 2
    return steps[0] if steps else None


def act(observed: Observed | None, desired: Desired | None = WANT) -> tuple[Act, str] | None:
    found = step(observed, desired)
    assert found is None or found.machine is UI
    return (found.act, found.why) if found else None


def test_when_all_is_as_it_should_be_nothing_is_done() -> None:
    assert step(WELL) is None


def test_another_identity_alone_is_no_reason() -> None:
    assert step(WELL, Desired(replace(GUEST, identity_id="new identity"), FILES)) is None


def test_what_is_not_there_is_created_or_restored() -> None:
    assert act(None) == (Act.CREATE, "")
    assert act(Observed(has_root=True)) == (Act.RESTORE, "it is not running")
    assert act(replace(WELL, row=replace(ROW, state=State.CRASHED))) == (Act.RESTORE, "it crashed")
    assert act(replace(WELL, row=replace(ROW, state=State.SHUTDOWN))) == (Act.RESTORE, "it has ended")


def test_what_a_running_guest_cannot_change_replaces_it() -> None:
    assert act(WELL, None) == (Act.REPLACE, "its image is another")
    larger = Desired(replace(GUEST, domain=Domain("a.ui", 256, vcpus=2)), FILES)
    assert act(WELL, larger) == (Act.REPLACE, "memory 144 → 256 MiB, vcpus 1 → 2")


def test_files_are_changed_in_a_running_guest() -> None:
    assert act(WELL, Desired(GUEST, {"/etc/a": "other", "/etc/c": "3"})) == (Act.CHANGE, "/etc/a, /etc/b, /etc/c")
    many = {f"/etc/{number}": "x" for number in range(5)} | FILES
    assert act(WELL, Desired(GUEST, many)) == (Act.CHANGE, "/etc/0, /etc/1, /etc/2 and 2 more")


@pytest.mark.parametrize("record", [None, Record(999.0, FILES, ready_s=1010.0)])
def test_a_record_of_another_life_says_nothing(record: Record | None) -> None:
    assert act(replace(WELL, record=record)) == (Act.CHANGE, "which files it has is not known")


def test_services_that_have_not_answered_are_awaited() -> None:
    assert act(replace(WELL, record=Record(1000.0, FILES))) == (Act.AWAIT, "its services have not all answered yet")


def test_a_service_that_has_ended_is_tried_again_unless_more_is_to_be_done() -> None:
    ails = replace(WELL, ails="a.service is failed")
    assert act(ails) == (Act.AWAIT, "a.service is failed")
    assert act(ails, Desired(GUEST, {"/etc/a": "1"})) == (Act.CHANGE, "/etc/b")


def test_ready_was_who_answered_in_this_life() -> None:
    assert WELL.was_ready
    for other in (
        Observed(),
        replace(WELL, row=replace(ROW, state=State.CRASHED)),
        replace(WELL, row=replace(ROW, state=State.PAUSED)),
        replace(WELL, record=None),
        replace(WELL, record=Record(1000.0, FILES)),
        replace(WELL, record=Record(999.0, FILES, ready_s=1010.0)),
    ):
        assert not other.was_ready


def test_machines_come_in_the_order_of_the_file_and_removals_last() -> None:
    observed = {"gone2": Observed(ROW), "gone1": Observed(has_root=True), "ce": Observed(has_root=True)}
    steps = plan(MACHINES, observed, lambda _: None)
    assert [one.says for one in steps] == [
        "create ui",
        "restore ce (it is not running)",
        "create wn1",
        "create wn2",
        "create se",
        "create mon",
        "remove gone1 (not in the site file)",
        "remove gone2 (not in the site file)",
    ]
    assert [one.machine is None for one in steps] == [False] * 6 + [True] * 2


def test_only_of_machines_that_run_it_is_asked_what_they_should_be() -> None:
    def never(machine: Machine) -> Desired | None:
        raise AssertionError(machine.name)

    assert len(plan(MACHINES, {"ui": Observed(replace(ROW, state=State.CRASHED))}, never)) == len(MACHINES)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(GUEST, nics=()), "its network cards are others"),
        (replace(GUEST, domain=Domain("a.ui", 144, vifs=(Vif(ip="10.20.0.8"),))), "its network cards are others"),
        (replace(GUEST, before=(("ip", "link"),)), "its network cards are others"),
        (replace(GUEST, companions=(("forward",),)), "other ports are published"),
        (replace(GUEST, volumes=(replace(ROOT, backing=Path("/images/2")),)), "its disks or its image are others"),
        (replace(GUEST, volumes=()), "its disks or its image are others"),
        (replace(GUEST, address="10.20.0.8"), "it is defined otherwise"),
    ],
)
def test_differences_are_said_in_words(other: Guest, why: str) -> None:
    assert list(differences(GUEST, other)) == [why]
    assert list(differences(other, GUEST)) == [why]


def test_changed_files_are_those_that_are_new_other_or_gone() -> None:
    assert changed_files({}, {}) == changed_files(FILES, dict(FILES)) == ()
    assert changed_files({"/same": "1", "/other": "1", "/gone": "1"}, {"/same": "1", "/other": "2", "/new": "1"}) == (
        "/gone",
        "/new",
        "/other",
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    write_record(tmp_path, Record(1000.25, FILES))
    assert read_record(tmp_path) == Record(1000.25, FILES)
    note_ready(tmp_path, 1010.5)
    assert read_record(tmp_path) == Record(1000.25, FILES, 1010.5)
    note_ready(tmp_path, None)
    assert read_record(tmp_path) == Record(1000.25, FILES)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"since": 1}', "\0"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.json").write_text(text)
    assert read_record(tmp_path) is None
    note_ready(tmp_path, 1.0)
    assert (tmp_path / "machine.json").read_text() == text


def test_a_record_is_of_one_life() -> None:
    assert Record(1000.0).of(ROW)
    assert not Record(1000.0).of(replace(ROW, since_s=1001.0))


def test_digests_tell_entries_apart() -> None:
    entries = [
        IdentityFile("/f", b"1"),
        IdentityFile("/f", b"2"),
        IdentityFile("/f", b"1", 0o600),
        IdentityFile("/f", b"1", uid=7),
        IdentityFolder("/f", 0o644),
        IdentityLink("/f", "/a"),
        IdentityLink("/f", "/b"),
    ]
    assert len({digests([entry])["/f"] for entry in entries}) == len(entries)
    assert digests([IdentityFile("/f", b"1")]) == digests([IdentityFile("/f", b"1")])


def of_role(role: Role, *names: str) -> list[Machine]:
    return [replace(UI, name=name, role=role) for name in names]


def role(name: str, *needs: str) -> Role:
    return replace(UI.role, name=name, needs=needs)


def test_worker_nodes_end_before_those_whose_folders_they_have_mounted() -> None:
    assert list(waves(MACHINES)) == [{"ui", "wn1", "wn2", "mon"}, {"ce", "se"}]


def test_waves_follow_chains_and_end_those_that_need_one_another_together() -> None:
    chain = [*of_role(role("a"), "a"), *of_role(role("b", "a"), "b"), *of_role(role("c", "b"), "c1", "c2")]
    assert list(waves(chain)) == [{"c1", "c2"}, {"b"}, {"a"}]
    circle = [*of_role(role("a", "b"), "a"), *of_role(role("b", "a"), "b"), *of_role(role("c", "a", "c"), "c")]
    assert list(waves(circle)) == [{"c"}, {"a", "b"}]
    assert list(waves(of_role(role("a", "absent"), "a"))) == [{"a"}]
    assert list(waves([])) == []


def test_what_others_need_boots_first_where_not_all_boot_at_once() -> None:
    assert needed_first(MACHINES) == ("ce", "se", "ui", "wn1", "wn2", "mon")
    assert needed_first([*of_role(role("b", "a"), "b1", "b2"), *of_role(role("a"), "a")]) == ("a", "b1", "b2")


class Network:
    """A network that only remembers whether it would have gone."""

    namespace = "gv-site-a"
    removed = False

    def remove_if_idle(self, busy: Callable[[], bool]) -> None:
        self.removed = not busy()


class Stubborn(FakeMonitor):
    """Its guests are asked to power off, in this order, and some do not."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.deaf: tuple[str, ...] = ()
        self.asked: list[str] = []

    def shutdown(self, name: str) -> None:
        self.asked.append(name)
        if name not in self.deaf:
            super().shutdown(name)


OTHERS = ["a.mine", "a.wn3", "ab.ui", "ui"]


@dataclass
class Bench:
    """The site, running, with its volumes, beside another site's machine, a domain of nobody's, and two that somebody
    has made and called as machines of the site: one that it has and one that it has not."""

    deployment: Deployment
    monitor: Stubborn
    network: Network
    events: list[Event]

    def left(self) -> list[str]:
        return sorted(row.name for row in self.monitor.list())

    def volumes(self) -> list[str]:
        return [volume.name for volume in self.deployment.pool.list()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(ends, "require_root", lambda: None)
    events: list[Event] = []
    host = Host(Places(tmp_path / "cache", tmp_path / "state"), Bus(events.append))
    host.monitor = monitor = Stubborn(tmp_path)
    deployment = Deployment(host, SITE, MACHINES)
    network = Network()
    deployment.__dict__["network"] = network  # is cached there
    for machine in MACHINES:
        monitor.create(Guest(Domain(deployment.domain_name(machine)), (), namespace=network.namespace))
    monitor.create(Guest(Domain("ab.ui"), (), namespace="gv-site-ab"))
    for name in ("ui", "a.mine", "a.wn3"):
        monitor.create(Guest(Domain(name), (), namespace="gv-default"))
    for name in ("ui-disk", "ce-disk", "se-disk", "se-data", "gone-disk", "gone-data"):
        deployment.pool.create(name, 4096)
    return Bench(deployment, monitor, network, events)


def test_a_site_is_observed_with_what_it_has_no_more(bench: Bench) -> None:
    bench.monitor.destroy("a.se")
    (bench.deployment.folder / "machines" / "ui").mkdir(parents=True)
    write_record(bench.deployment.folder / "machines" / "ui", Record(5.0))
    seen = observe(bench.deployment)
    assert sorted(seen) == ["ce", "gone", "mon", "se", "ui", "wn1", "wn2"]
    assert (seen["gone"], seen["se"]) == (Observed(has_root=True), Observed(has_root=True))
    assert (seen["ui"].record, seen["ui"].has_root, seen["wn1"].has_root) == (Record(5.0), True, False)
    assert seen["ui"].row in bench.monitor.list()


def test_a_name_that_somebody_has_given_a_domain_is_told_before_anything_is_made(bench: Bench) -> None:
    more = Site.model_validate({"site": "a", "machines": {"ui": {}, "ce": {}, "wn": {"count": 3}}})
    deployment = replace(bench.deployment, site=more, machines=expand(more, ROLES))
    deployment.__dict__["network"] = bench.network
    wn3 = deployment.machine("wn3")
    with pytest.raises(Refused, match=r"'a\.wn3' exists that is not of this site"):
        ups._refuse_what_does_not_fit(deployment, [Step(Act.CREATE, "wn3", machine=wn3)])


def test_only_machines_that_were_ready_are_asked_how_they_are(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ailment(machine: Machine, deployment: Deployment) -> str:
        asked.append(machine.name)
        return f"of {machine.name}"

    monkeypatch.setattr(ups, "ailment", ailment)
    rows = bench.deployment.rows()
    for name, ready_s in (("ui", 7.0), ("ce", None)):
        (bench.deployment.folder / "machines" / name).mkdir(parents=True)
        write_record(bench.deployment.folder / "machines" / name, Record(rows[name].since_s, {}, ready_s))
    seen = observe(bench.deployment)
    assert asked == ["ui"]
    assert {name: one.ails for name, one in seen.items() if one.ails} == {"ui": "of ui"}


def test_down_asks_in_waves_and_leaves_others_alone(bench: Bench) -> None:
    volumes = bench.volumes()
    down(bench.deployment, timeout_s=5)
    assert set(bench.monitor.asked[:4]) == {"a.ui", "a.mon", "a.wn1", "a.wn2"}
    assert set(bench.monitor.asked[4:]) == {"a.ce", "a.se"}
    assert bench.left() == OTHERS
    assert (bench.network.removed, bench.volumes()) == (True, volumes)


def test_down_ends_who_does_not_hear_and_says_so(bench: Bench) -> None:
    bench.monitor.deaf = ("a.wn1",)
    bench.monitor.pause("a.ce")  # hears nothing at all
    down(bench.deployment, timeout_s=0)
    assert bench.left() == OTHERS
    [warning] = [event.step for event in bench.events if event.kind is Kind.WARNING]
    assert "a.wn1 still there" in warning
    assert "as if the power failed" in warning


def test_destroy_removes_what_is_the_sites_and_nothing_else(bench: Bench) -> None:
    (bench.deployment.folder / "machines").mkdir(parents=True)
    destroy(bench.deployment, keep_data=False)
    assert bench.left() == OTHERS
    assert (bench.volumes(), bench.deployment.folder.exists(), bench.network.removed) == ([], False, True)


def test_destroy_can_keep_data_even_of_machines_that_are_no_more(bench: Bench) -> None:
    assert set(data_volumes(bench.deployment)) == {"se-data", "gone-data"}
    destroy(bench.deployment, keep_data=True)
    assert bench.volumes() == ["gone-data", "se-data"]
