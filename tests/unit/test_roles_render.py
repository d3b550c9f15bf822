"""What templates become for the site of examples/kiam.yaml, against golden files.

GRIDVISOR_REGENERATE=1 writes them anew, to be read in the diff.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from gridvisor.app.site.ids import with_new
from gridvisor.core.errors import InputError
from gridvisor.identity.distinguished_name import grid_dn
from gridvisor.identity.model import IdentityEntry, IdentityFile, IdentityLink
from gridvisor.roles.context import (
    ACCOUNTS_FROM_UID,
    USERS_FROM_UID,
    AuthorityView,
    Context,
    MachineView,
    SiteView,
    UserView,
    accounts_of,
)
from gridvisor.roles.render import render
from gridvisor.site.check import load_site
from gridvisor.site.machine import Machine
from gridvisor.site.role import Role, load_role

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "roles"
KIAM = TESTS.parent / "examples" / "kiam.yaml"
SQUID = TESTS.parent / "examples" / "squid" / "site.yaml"


def view(machine: Machine) -> MachineView:
    addresses = {card.network: card.address for card in machine.interfaces}
    first = machine.interfaces[0].address
    return MachineView(
        machine.name, machine.fqdn, machine.role.name, machine.memory_mib, machine.vcpus, first, addresses
    )


def context(file: Path, name: str) -> tuple[Role, Context]:
    """What the machine `name` of that site file is, and what its templates see."""
    site, machines = load_site(file)
    users = tuple(
        UserView(user.name, user.vo, grid_dn(user.name), uid, f"/home/{user.name}")
        for uid, user in enumerate(site.users, USERS_FROM_UID)
    )
    views = {machine.name: view(machine) for machine in machines}
    [role] = [machine.role for machine in machines if machine.name == name]
    return role, Context(
        site=SiteView(site.site, site.domain, tuple(site.vos), users, site.networks),
        machine=views[name],
        machines=tuple(views.values()),
        accounts=accounts_of(with_new({}, site.vos, ACCOUNTS_FROM_UID)),
        ca=AuthorityView(grid_dn("test CA"), "0123abcd"),
        secret=lambda what: f"secret of {what}",
    )


def files(role: Role, seen: Context) -> dict[str, IdentityFile]:
    return {entry.path: entry for entry in render(role, seen) if isinstance(entry, IdentityFile)}


@pytest.fixture(scope="module")
def kiam() -> Mapping[str, Mapping[str, IdentityFile]]:
    """The rendered files of each machine of the site."""
    return {name: files(*context(KIAM, name)) for name in ("ui", "ce", "wn1", "se", "mon")}


def of_role(tmp_path: Path, tree: Mapping[str, str | bytes]) -> tuple[IdentityEntry, ...]:
    """A role with these files, rendered for the computing element of kiam.yaml."""
    return render(role_with(tmp_path, tree), context(KIAM, "ce")[1])


def role_with(tmp_path: Path, tree: Mapping[str, str | bytes], role_yaml: str = "") -> Role:
    folder = tmp_path / "mine"
    for name, content in {"role.yaml": role_yaml, **{f"tree/{path}": text for path, text in tree.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_role("mine", [folder])


@pytest.mark.parametrize(
    ("machine", "path"),
    [
        ("ce", "/etc/arc.conf"),
        ("ce", "/etc/slurm/slurm.conf"),
        ("ce", "/usr/local/sbin/farm-gateway"),
        ("se", "/etc/xrootd/xrootd-se.cfg"),
        ("mon", "/etc/prometheus/targets.yml"),
    ],
)
def test_golden(kiam: Mapping[str, Mapping[str, IdentityFile]], machine: str, path: str) -> None:
    text = kiam[machine][path].content.decode()
    golden = GOLDEN / f"{machine}-{Path(path).name}"
    if os.environ.get("GRIDVISOR_REGENERATE"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_the_cache_of_the_example_is_in_both_networks_and_serves_both() -> None:
    _, machines = load_site(SQUID)
    [cache] = [machine for machine in machines if machine.name == "cache"]
    assert [card.network for card in cache.interfaces] == ["site", "farm"]
    text = files(*context(SQUID, "cache"))["/etc/squid/squid.conf"].content.decode()
    for name, network in (("site", "10.20.0.0/24"), ("farm", "10.20.1.0/24")):
        assert f"acl site_{name} src {network}\nhttp_access allow site_{name}\n" in text


def test_nothing_of_jinja_is_left_in_any_file(kiam: Mapping[str, Mapping[str, IdentityFile]]) -> None:
    for machine, entries in kiam.items():
        for path, entry in entries.items():
            text = entry.content.decode()
            assert ("{%" in text, "None" in text, path.endswith(".j2")) == (False, False, False), (machine, path)


def test_shell_scripts_that_were_rendered_are_scripts(kiam: Mapping[str, Mapping[str, IdentityFile]]) -> None:
    scripts = [entry for files in kiam.values() for entry in files.values() if entry.content.startswith(b"#!/bin/sh")]
    assert len(scripts) > 2
    for entry in scripts:
        assert entry.mode == 0o755, entry.path
        subprocess.run(["sh", "-n"], input=entry.content, check=True)


def test_what_is_private_is_for_root_only(kiam: Mapping[str, Mapping[str, IdentityFile]]) -> None:
    for machine in ("ce", "wn1"):
        assert kiam[machine]["/etc/munge/munge.key"].mode == 0o600
    assert kiam["ce"]["/etc/munge/munge.key"].content == kiam["wn1"]["/etc/munge/munge.key"].content
    assert kiam["ce"]["/etc/arc.conf"].mode == 0o644


@pytest.mark.parametrize("machines", ["ui:", "ce:", "se:", "mon:", "wn: {count: 1}"])
def test_every_role_can_be_alone(tmp_path: Path, machines: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(f"site: alone\nmachines:\n  {machines}\n")
    _, [machine] = load_site(file)
    assert render(*context(file, machine.name))


def test_a_file_of_the_site_replaces_the_shipped_one_alone(tmp_path: Path) -> None:
    own = tmp_path / "roles" / "ce" / "tree" / "etc" / "slurm"
    own.mkdir(parents=True)
    (own / "slurm.conf").write_text("# {{ mine }}\n")  # in the place of a template, and none itself
    (own / "more.conf.j2").write_text("{{ machine.name }}\n")
    shutil.copy(KIAM, tmp_path / "site.yaml")
    changed, shipped = files(*context(tmp_path / "site.yaml", "ce")), files(*context(KIAM, "ce"))
    assert changed["/etc/slurm/slurm.conf"].content == b"# {{ mine }}\n"
    assert changed["/etc/slurm/more.conf"].content == b"ce\n"
    others = shipped.keys() - {"/etc/slurm/slurm.conf"}
    assert {path: changed[path] for path in others} == {path: shipped[path] for path in others}
    assert changed.keys() - shipped.keys() == {"/etc/slurm/more.conf"}


def test_entries_are_sorted_links_stay_links_and_bytes_stay_bytes(tmp_path: Path) -> None:
    role = role_with(tmp_path, {"b": b"\xff\0", "a/c": "{{ 1 }}", "run.sh": "true\n", "key": "x"}, "private: [/key]\n")
    (role.trees[0] / "run.sh").chmod(0o755)
    (role.trees[0] / "link").symlink_to("/etc/motd")
    entries = render(role, context(KIAM, "ce")[1])
    assert entries == (
        IdentityFile("/a/c", b"{{ 1 }}"),
        IdentityFile("/b", b"\xff\0"),
        IdentityFile("/key", b"x", 0o600),
        IdentityLink("/link", "/etc/motd"),
        IdentityFile("/run.sh", b"true\n", 0o755),
    )


def test_every_template_that_cannot_be_rendered_is_told_at_its_line(tmp_path: Path) -> None:
    tree = {
        "a.j2": "good\n{{ site.name }}\n{{ machine.colour }}\n",
        "b.j2": "\n{{ nobody }}",
        "c.j2": "{% for x in role('ce') %}\n",
        "d.j2": "{{ site.networks['none'] }}",
        "e.j2": "ok\n\n{{ role('none')[0].fqdn }}",
        "f.j2": "\n{{ 1 // 0 }}",
        "g.j2": b"\xff",
        "fine.j2": "{{ site.name }}",
    }
    with pytest.raises(InputError) as caught:
        of_role(tmp_path, tree)
    told = [(Path(one.span.path).name, one.span.line) for one in caught.value.problems]
    assert told == [("a.j2", 3), ("b.j2", 2), ("c.j2", 1), ("d.j2", 1), ("e.j2", 3), ("f.j2", 2), ("g.j2", 1)]
    assert "has no attribute 'colour'" in caught.value.problems[0].text
    assert caught.value.problems[1].text == "cannot be rendered: 'nobody' is undefined"


def test_text_is_not_escaped_as_html_would_be(tmp_path: Path) -> None:
    [entry] = of_role(tmp_path, {"a.j2": "{{ '<&>' }}\n"})
    assert entry == IdentityFile("/a", b"<&>\n")


def test_the_site_as_templates_see_it() -> None:
    _, seen = context(KIAM, "ce")
    assert [one.name for one in seen.role("wn")] == ["wn1", "wn2"]
    assert seen.machine.networks == ("site", "farm")
    assert seen.machine.address == seen.machine.addresses["site"]
    assert [(one.name, one.uid, one.gid) for one in accounts_of({"dteam": 3001, "ops": 3002})] == [
        ("dteam001", 3001, 3001),
        ("ops001", 3002, 3002),
    ]


def test_accounts_of_vos_have_names_that_unix_takes_and_no_two_alike(tmp_path: Path) -> None:
    vos = ["vo.example.org", "vo-example.org", "vo.example-org", "voexampleorg", "a" * 25 + ".b-"]
    assert len({one.name for one in accounts_of(dict.fromkeys(vos, 3001))}) == len(vos)
    file = tmp_path / "site.yaml"
    file.write_text(f"site: a\nvos: [{', '.join(vos)}]\nmachines: {{ce: , wn: }}\n")
    for machine in ("ce", "wn"):
        text = files(*context(file, machine))["/etc/sysusers.d/gridvisor.conf"].content.decode()
        names = re.findall("^u ([^ ]+) ", text, re.MULTILINE)
        assert len(names) == len(vos)
        # What systemd takes (systemd.io/USER_NAMES).
        assert [name for name in names if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_-]{0,30}", name)] == []
