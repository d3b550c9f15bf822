"""A site powers off in an order, and what does not power off is ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from gridvisor.app.host import Host
from gridvisor.app.site import down as story
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.down import down
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.monitor.protocol import DomainRow, NoSuchDomain, State
from gridvisor.network.namespace import HostNetwork
from gridvisor.site.check import SHIPPED
from gridvisor.site.machine import expand
from gridvisor.site.model import Site
from gridvisor.site.role import find_roles


class Domains:
    """A monitor of domains that power off at once when they are asked, but those that hang."""

    def __init__(self, names: Sequence[str], hang: Sequence[str] = ()) -> None:
        self.rows = {name: DomainRow(name, 1, 64, 1, State.RUNNING, 0.0, 1.0) for name in names}
        self.hang = hang
        self.done: list[str] = []

    def list(self) -> Sequence[DomainRow]:
        return tuple(self.rows.values())

    def shutdown(self, name: str) -> None:
        self.done.append(f"shutdown {name}")
        if name not in self.hang:
            del self.rows[name]

    def destroy(self, name: str) -> None:
        self.done.append(f"destroy {name}")
        if self.rows.pop(name, None) is None:
            raise NoSuchDomain(name)


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A site of four machines, of which the worker node needs the computing element and storage."""
    site = Site.model_validate({"site": "a", "machines": {"ui": {}, "ce": {}, "wn": {}, "se": {}}})
    host = Host(Places(tmp_path / "c", tmp_path / "s"), Bus())
    monkeypatch.setattr(story, "require_root", lambda: None)
    monkeypatch.setattr(Deployment, "held", lambda _: nullcontext())
    monkeypatch.setattr(Deployment, "_machine_of", lambda _, row: row.name)
    monkeypatch.setattr(HostNetwork, "remove_if_idle", lambda *_: None)
    return Deployment(host, site, expand(site, find_roles((SHIPPED,))))


def test_nobody_powers_off_before_those_that_need_it(whole: Deployment) -> None:
    domains = Domains(["ui", "ce", "wn", "se"])
    whole.host.monitor = domains  # type: ignore[assignment]
    assert down(whole, timeout_s=1) == ()
    order = [words.removeprefix("shutdown ") for words in domains.done]
    assert sorted(order) == ["ce", "se", "ui", "wn"]
    assert order.index("wn") < min(order.index("ce"), order.index("se"))


def test_what_hangs_is_ended_before_those_that_it_needs_are_asked(whole: Deployment) -> None:
    domains = Domains(["ui", "ce", "wn", "se"], hang=["wn"])
    whole.host.monitor = domains  # type: ignore[assignment]
    assert down(whole, timeout_s=0.2) == ("wn",)
    assert domains.done.index("destroy wn") < domains.done.index("shutdown ce")
    assert not domains.rows


def test_a_machine_that_the_file_does_not_name_any_more_is_powered_off_last(whole: Deployment) -> None:
    domains = Domains(["old", "ui", "ce", "wn", "se"])
    whole.host.monitor = domains  # type: ignore[assignment]
    down(whole, timeout_s=1)
    assert domains.done[-1] == "shutdown old"
