"""A site file becomes the site that is known here, with the addresses that its machines have already."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.app.host import Host, network_name
from gridvisor.app.site.addresses import read_addresses
from gridvisor.app.site.deployment import Deployment, address_of
from gridvisor.app.site.opening import forget_sites, keep_site_file, load_known_site, open_deployment, site_names
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.run.detached import Detached
from gridvisor.run.local import Local
from gridvisor.site.check import load_site


def write(file: Path, uis: int) -> Path:
    """A site file of that name with so many user interfaces; the fifth one's address would be that of the SE."""
    file.write_text(f"site: kiam-test\nmachines: {{ui: {{count: {uis}}}, se: }}\n")
    return file


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(Places(tmp_path / "cache", tmp_path / "state"), Bus())


def test_machines_keep_their_addresses_when_the_site_file_changes(tmp_path: Path, host: Host) -> None:
    file = write(tmp_path / "site.yaml", 4)
    first = open_deployment(host, str(file))
    keep_site_file(first, file)
    write(file, 5)
    second = open_deployment(host, str(file))
    assert [second.machine(machine.name) for machine in first.machines] == list(first.machines)
    assert load_site(file)[1][-1] != first.machines[-1], "else this test shows nothing"
    keep_site_file(second, file)
    assert open_deployment(host, "kiam-test").machines == second.machines, "by its name it is the same"
    assert load_known_site(host.places, file)[1] == second.machines


def test_up_by_the_name_of_a_site_keeps_addresses_too(tmp_path: Path, host: Host) -> None:
    file = write(tmp_path / "site.yaml", 4)
    keep_site_file(open_deployment(host, str(file)), file)
    kept = write(host.places.state / "sites" / "kiam-test" / "site.yaml", 5)
    keep_site_file(open_deployment(host, "kiam-test"), kept)
    assert "ui5" in read_addresses(kept.parent)


def test_who_is_in_the_file_no_more_keeps_nothing(tmp_path: Path, host: Host) -> None:
    file = write(tmp_path / "site.yaml", 2)
    both = open_deployment(host, str(file))
    keep_site_file(both, file)
    [_, ui2, _] = both.machines
    assert read_addresses(both.folder)["ui2"] == {"site": address_of(ui2)}
    keep_site_file(open_deployment(host, str(write(file, 1))), file)
    assert set(read_addresses(both.folder)) == {"ui1", "se"}


@pytest.mark.parametrize("text", ["", "[]", '{"se": 1}', '{"se": {"site": "x"}}', "\0"])
def test_what_was_kept_and_cannot_be_read_counts_as_nothing(tmp_path: Path, host: Host, text: str) -> None:
    file = write(tmp_path / "site.yaml", 1)
    site, machines = load_site(file)
    folder = Deployment(host, site, machines).folder
    folder.mkdir(parents=True)
    (folder / "addresses.json").write_text(text)
    assert open_deployment(host, str(file)).machines == machines


def test_sites_go_with_the_monitor_that_they_were_on_and_others_stay(tmp_path: Path, host: Host) -> None:
    published = []
    for site, monitor in (("boxed", "box"), ("elsewhere", "uml")):
        folder = host.places.state / "sites" / site
        folder.mkdir(parents=True)
        (folder / "site.yaml").write_text(f"site: {site}\nmachines: {{se: }}\n")
        (folder / "monitor").write_text(f"{monitor}\n")
        network = host.places.state / "networks" / network_name(site)
        network.mkdir(parents=True)
        published.append(Detached(network / "forward-1094.pid"))
        published[-1].start(Local(), ("sleep", "600"), log=network / "log")
    try:
        forget_sites(host.places, "box")
        assert site_names(host.places) == ("elsewhere",)
        assert [one.pid() is None for one in published] == [True, False]
        assert [path.name for path in (host.places.state / "networks").iterdir() if path.is_dir()] == ["site-elsewhere"]
        forget_sites(host.places, "box")
        assert site_names(host.places) == ("elsewhere",)
    finally:
        for one in published:
            one.stop()
