"""The choice of a kernel pack, and that packs are whole or absent, with packages of a few bytes and no mirror."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.events import Bus, Event, Kind
from gridvisor.core.places import Places
from gridvisor.kernel import uml
from gridvisor.kernel.making import size_of_tree
from gridvisor.kernel.pack import KernelPack, Mode
from gridvisor.kernel.uml import PACKAGES, Choice, choose, mode_of, uml_pack
from gridvisor.package.apt import Candidate
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.run.local import Local


class FakeApt:
    """Suites with the versions that they offer of every package; None is a suite that the mirror does not have."""

    def __init__(self, **suites: str | None) -> None:
        self.suites = suites

    def update(self, suite: str, *, force: bool = False) -> None:
        if self.suites.get(suite, "") is None:
            raise CommandFailed(Result(Command.of("apt-get", "update"), 100, "", "404", 0.0, "local"))

    def candidate(self, suite: str, package: str) -> Candidate | None:
        version = self.suites.get(suite)
        return Candidate(version, suite, "", f"hash of {package} {version}") if version else None


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ("7.2um1", Mode.SECCOMP),
        ("6.16um1", Mode.SECCOMP),
        ("6.12um1+b21", Mode.PTRACE),
        ("6.1um1", Mode.PTRACE),
        ("10.0um2", Mode.SECCOMP),
    ],
)
def test_mode_follows_the_kernel(version: str, mode: Mode) -> None:
    assert mode_of(version) is mode


def test_version_without_a_number_is_an_error() -> None:
    with pytest.raises(ToolOutput):
        mode_of("next")


def test_ptrace_mode_is_said_with_its_price() -> None:
    assert "slower" in KernelPack("id", "6.12um1", Mode.PTRACE, Path("/pack")).note
    assert "SECCOMP" in KernelPack("id", "7.2um1", Mode.SECCOMP, Path("/pack")).note


def test_newest_suite_first() -> None:
    choice = choose(FakeApt(sid="7.2um1", trixie="6.12um1"), Bus())
    assert (choice.suite, choice.version) == ("sid", "7.2um1")


def test_suite_that_the_mirror_lacks_is_told_and_passed() -> None:
    told: list[Event] = []
    choice = choose(FakeApt(sid=None, trixie="6.12um1"), Bus(told.append))
    assert choice.suite == "trixie"
    assert "'sid'" in told[0].step


def test_mirror_without_the_kernel_is_refused_and_a_silent_one_failed() -> None:
    with pytest.raises(Refused, match="has no 'user-mode-linux'"):
        choose(FakeApt(), Bus())
    with pytest.raises(CommandFailed):
        choose(FakeApt(sid=None, testing=None, trixie=None), Bus())


def test_id_follows_the_packages_and_not_the_suite() -> None:
    def packages(kernel: str) -> dict[str, Candidate]:
        return {name: Candidate("7.2um1", "any", "", kernel) for name in PACKAGES}

    assert Choice("sid", packages("a")).id == Choice("testing", packages("a")).id
    assert Choice("sid", packages("a")).id != Choice("sid", packages("b")).id


def test_size_counts_whole_blocks(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_bytes(b"x")
    inodes, blocks = size_of_tree(tmp_path)
    assert inodes > 100
    assert blocks > 100


class SmallPackages:
    """Stands for Apt: packages of a few bytes, made with dpkg-deb; counts what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0
        self.broken = False

    def update(self, suite: str, *, force: bool = False) -> None:
        self.asked += 1

    def candidate(self, suite: str, package: str) -> Candidate | None:
        return Candidate("6.12um1", suite, "", f"hash of {package}")

    def download(self, suite: str, package: str) -> Path:
        files = {
            "user-mode-linux": ("usr/bin/linux.uml", "usr/lib/uml/modules/6.12/modules.dep", "usr/share/doc/x"),
            "libc6": ("usr/lib/libc.so.6", "usr/lib64/ld.so", "usr/share/doc/y"),
            "libgcc-s1": ("usr/lib/libgcc_s.so.1", "usr/share/doc/z"),
            "busybox-static": () if self.broken else ("usr/bin/busybox",),
        }[package]
        tree = self.folder / package
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: -\n"
        )
        for file in files:
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            (tree / file).write_text(file)
        deb = self.folder / f"{package}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, stdout=subprocess.DEVNULL)
        return deb


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPackages:
    small = SmallPackages(tmp_path / "debs")
    monkeypatch.setattr(uml, "Apt", lambda *_, **__: small)
    monkeypatch.setattr(uml, "mirror_of_this_machine", lambda *_, **__: Mirror("http://mirror.example.org/debian"))
    return small


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


def test_pack_is_made_once(apt: SmallPackages, places: Places) -> None:
    told: list[Event] = []
    pack = uml_pack(places, Bus(told.append), target=Local())
    assert (pack.runtime / "lib64/ld.so").is_file()
    assert (pack.runtime / "lib/libgcc_s.so.1").is_file()
    assert not (pack.runtime / "usr/lib/uml/modules").exists()
    assert not (pack.runtime / "usr/share").exists()
    assert [event.step for event in told if event.kind is Kind.WARNING] == [pack.note]
    Local().run(Command.of("e2fsck", "-fn", str(pack.modules)), timeout_s=30)
    listing = Local().run(Command.of("debugfs", "-R", "ls -p /6.12", str(pack.modules)), timeout_s=30)
    assert "modules.dep" in listing.stdout
    names = Local().run(Command.of("cpio", "-it", "--quiet", stdin=pack.initramfs.read_bytes()), timeout_s=30)
    assert {"init", "bin/sh", "bin/busybox", "dev", "new"} <= set(names.stdout.split())
    assert pack.modules.stat().st_mode & 0o777 == 0o444

    asked = apt.asked
    assert uml_pack(places, Bus(), target=Local()) == pack
    assert apt.asked == asked

    assert uml_pack(places, Bus(), target=Local(), refresh=True) == pack
    assert apt.asked > asked


def test_failed_making_leaves_nothing_and_the_next_one_works(apt: SmallPackages, places: Places) -> None:
    apt.broken = True
    with pytest.raises(ToolOutput, match="busybox"):
        uml_pack(places, Bus(), target=Local())
    assert {path.name for path in (places.cache / "kernels").iterdir()} == {"lock"}

    apt.broken = False
    assert uml_pack(places, Bus(), target=Local()).initramfs.is_file()


def test_leftovers_of_a_killed_run_are_taken_away(apt: SmallPackages, places: Places) -> None:
    left = places.cache / "kernels/.making-0123"
    left.mkdir(parents=True)
    (left / "modules.img").write_text("half")
    pack = uml_pack(places, Bus(), target=Local())
    assert pack.folder.is_dir()
    assert not left.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"suite": "sid"}', json.dumps(asdict(Choice("sid", {})))])
def test_unreadable_choice_is_chosen_anew(apt: SmallPackages, places: Places, text: str) -> None:
    (places.cache / "kernels").mkdir(parents=True)
    (places.cache / "kernels/current.json").write_text(text)
    assert uml_pack(places, Bus(), target=Local()).folder.is_dir()
