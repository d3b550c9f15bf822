"""Candidates with a fault planted in them, of the kinds that releases of middleware have had."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gridvisor.app.host import Host
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import load_known_site
from gridvisor.app.site.up import Recipes
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.release.lock import file_name

SHIPPED = Path(__file__).parent.parent / "src/gridvisor/roles"


@dataclass(frozen=True)
class Fault:
    """A candidate with a fault. `plant` makes its files in a folder, from package files in another one.

    `caught` is part of the name of the finding that tells of it, `guilty` the suspect that is to be named.
    """

    name: str
    plant: Callable[[Path, Path], None]
    caught: str
    guilty: str


def package_files(home: Mapping[str, str], site: Path, into: Path) -> Path:
    """Make the folder `into`, of the package files that the images of the site are made of, and of no newer ones.

    Images that are not there are built, by bringing the site up once.
    """
    host = Host(Places.of(home, uid=os.geteuid()), Bus())
    parsed, machines = load_known_site(host.places, site)
    recipes = Recipes(Deployment(host, parsed, machines))
    if not all(recipes.image(machine) for machine in machines):
        for words in (["up", str(site)], ["destroy", "--yes", parsed.site]):
            subprocess.run([sys.executable, "-m", "gridvisor", *words], check=True, capture_output=True, env=home)
    into.mkdir()
    for image in filter(None, map(recipes.image, machines)):
        for name in map(file_name, image.packages):
            if not (into / name).exists():
                (into / name).symlink_to(host.images.debs / name)
    return into


def candidate(fault: Fault, folder: Path, debs: Path, *, innocent: Sequence[str] = ()) -> Path:
    """Make the candidate in `folder`, with these packages of which nothing but the version is new beside the guilty
    one; gives back its file."""
    folder.mkdir(parents=True)
    fault.plant(folder, debs)
    for name in innocent:
        changed_package(name, lambda tree: None)(folder, debs)
    lines = [f"candidate: {fault.name}", f"summary: with a planted fault, {fault.name}"]
    if (folder / "debs").is_dir():
        lines += ["packages:", "  - folder: ./debs"]
    if (folder / "roles").is_dir():
        lines += ["roles: ./roles"]
    file = folder / "candidate.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def changed_role_file(path: str, old: str, new: str) -> Callable[[Path, Path], None]:
    """A changed file of a shipped role; `path` is 'ROLE/tree/etc/…'."""

    def plant(folder: Path, _: Path) -> None:
        text = (SHIPPED / path).read_text()
        assert old in text, path
        target = folder / "roles" / path
        target.parent.mkdir(parents=True)
        target.write_text(text.replace(old, new))

    return plant


def changed_package(name: str, change: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    """A newer package of that name: the one that is there, unpacked, changed and packed again."""

    def plant(folder: Path, debs: Path) -> None:
        # '_' ends a version, and is before all that may follow in a longer one.
        deb = max(debs.glob(f"{name}_*.deb"), key=lambda path: path.name.replace("_", "!"))
        tree = folder / "tree"
        _run("dpkg-deb", "--raw-extract", deb, tree)
        control = tree / "DEBIAN/control"
        lines = control.read_text().splitlines()
        newer = [f"{line}+fault1" if line.startswith("Version:") else line for line in lines]
        control.write_text("\n".join(newer) + "\n")
        change(tree)
        sums = tree / "DEBIAN/md5sums"
        sums.unlink(missing_ok=True)
        (folder / "debs").mkdir(exist_ok=True)
        _run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, folder / "debs")
        _run("rm", "-r", tree)

    return plant


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)


def script_that(name: str, text: str) -> Callable[[Path], None]:
    """A maintainer script that does this first."""

    def change(tree: Path) -> None:
        file = tree / "DEBIAN" / name
        rest = file.read_text().partition("\n")[2] if file.exists() else "exit 0\n"
        file.write_text(f"#!/bin/sh\n{text}\n{rest}")
        file.chmod(0o755)

    return change


def _late(tree: Path) -> None:
    [unit] = [path for path in tree.rglob("bdii.service") if path.is_file()]
    unit.write_text(unit.read_text().replace("[Service]\n", "[Service]\nExecStartPre=/bin/sleep 20\n"))


def _slow(tree: Path) -> None:
    real = tree / "usr/bin/arcsub"
    real.rename(real.with_name("arcsub.real"))
    real.write_text('#!/bin/sh\nsleep 1.5\nexec /usr/bin/arcsub.real "$@"\n')
    real.chmod(0o755)


def _depends(tree: Path) -> None:
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("Depends: ", "Depends: libgone9 (>= 9), ", 1))


def _wrong_checksum(folder: Path, debs: Path) -> None:
    changed_role_file(
        "se/tree/etc/xrootd/xrootd-se.cfg.j2",
        "xrootd.chksum max 2 adler32 md5 crc32c",
        "xrootd.chksum max 2 adler32 /usr/local/bin/adler32",
    )(folder, debs)
    program = folder / "roles/se/tree/usr/local/bin/adler32"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 00c0ffee\n")
    program.chmod(0o755)


_CHECKSUMS = "xrootd.chksum max 2 adler32 md5 crc32c"
_CFG = "se/tree/etc/xrootd/xrootd-se.cfg.j2"
_OPENS_KEY = "chmod 644 /etc/grid-security/hostkey.pem"
_NO_STATE = "[ ! -d /var/lib/slurm/slurmctld ] || { systemctl stop slurmctld; rm -rf /var/lib/slurm/slurmctld/*; }"

FAULTS = (
    Fault(
        "broken-default",
        changed_role_file("se/tree/etc/xrootd/authdb.j2", "{{ user.vo }} a", "{{ user.vo }} rl"),
        "stored_by_root",
        "se/tree/etc/xrootd/authdb.j2",
    ),
    Fault("dropped-option", changed_role_file(_CFG, f"{_CHECKSUMS}\n", ""), "stored", _CFG),
    Fault("late-service", changed_package("bdii", _late), "bdii", "bdii"),
    Fault(
        "open-key",
        changed_package("xrootd-server", script_that("postinst", _OPENS_KEY)),
        "certificate_valid",
        "xrootd-server",
    ),
    Fault("lost-jobs", changed_package("slurmctld", script_that("preinst", _NO_STATE)), "job", "slurmctld"),
    Fault("wrong-checksum", _wrong_checksum, "stored", _CFG),
    Fault("slow-submit", changed_package("nordugrid-arc-client", _slow), "submission", "nordugrid-arc-client"),
    Fault(
        "moved-certificate",
        changed_role_file("ce/tree/etc/arc.conf.j2", "grid-security/hostcert.pem", "grid-security/server/cert.pem"),
        "ce",
        "ce/tree/etc/arc.conf.j2",
    ),
    Fault("missing-dependency", changed_package("xrootd-server", _depends), "packages", "xrootd-server"),
    Fault("failing-script", changed_package("munge", script_that("postinst", "echo no >&2; exit 1")), "ce", "munge"),
)
