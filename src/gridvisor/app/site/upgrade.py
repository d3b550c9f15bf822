"""One machine gets packages of a release, by apt and in place; and gets those back that it had."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gridvisor.app.site.deployment import Deployment
from gridvisor.core.errors import SystemSaidNo
from gridvisor.package.apt import PackageVersion
from gridvisor.release.lock import Release, file_name
from gridvisor.release.repository import write_index
from gridvisor.run.command import Command, script
from gridvisor.site.machine import Machine

_FOLDER = "/var/lib/gridvisor/release"
_PUT_S = 300.0
_MORE_S = 30.0  # for what is around apt
_LAST_LINES = 15
# dpkg(1) of Debian 13 names the package whose script has failed so.
_CULPRIT = re.compile(r"(?:error processing (?:package|archive) |Sub-process .* \()([a-z0-9][a-z0-9+.-]+)")
_INSTALLED = "dpkg-query --show --showformat '${db:Status-Abbrev} ${Package} ${Version}\\n'"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade has done: versions before and after, by package ('' for none), and what apt has said."""

    before: dict[str, str]
    after: dict[str, str]
    log: str

    @property
    def changed(self) -> tuple[str, ...]:
        """The packages that are new, of another version, or gone."""
        names = self.before.keys() | self.after.keys()
        return tuple(sorted(name for name in names if self.before.get(name) != self.after.get(name)))


class UpgradeFailed(SystemSaidNo):
    """apt could not do it; `package` is the one that it failed at, if it says so."""

    def __init__(self, message: str, package: str) -> None:
        super().__init__(message)
        self.package = package


def upgrade_machine(
    machine: Machine, deployment: Deployment, release: Release, *, only: Collection[str] | None = None, timeout_s: float
) -> Upgraded:
    """Install what the release asks for on machines of this role, or of that what `only` names, and what it needs.

    The machine gets the package files through us; it has no way out. Raises UpgradeFailed when apt cannot, or hangs.
    """
    packages = release.roles[machine.role.name]
    versions = {one.name: one.version for one in packages.install}
    wanted = [name for name in packages.asked if name in versions and (only is None or name in only)]
    words = ("install", *(f"{name}={versions[name]}" for name in wanted))
    return _apt(machine, deployment, release.folder, packages.install, words, timeout_s=timeout_s)


def downgrade_machine(
    machine: Machine, deployment: Deployment, folder: Path, *, had: dict[str, str], timeout_s: float
) -> Upgraded:
    """Give the machine the versions back that it `had`, from the package files in `folder`; new packages go.

    Raises UpgradeFailed when apt cannot.
    """
    has = installed(machine, deployment)
    back = [name for name, version in had.items() if has.get(name) != version]
    new = [name for name in has if name not in had]
    if not back and not new:
        return Upgraded(has, has, "")
    debs = sorted(folder.glob("*.deb"))
    packages = [one for deb in debs if (one := _package_of(deb)) and one.name in back and had[one.name] == one.version]
    words = ("install", *(f"{name}={had[name]}" for name in back), *(f"{name}-" for name in new))
    return _apt(machine, deployment, folder, packages, words, timeout_s=timeout_s)


def installed(machine: Machine, deployment: Deployment) -> dict[str, str]:
    """The versions of the packages that the machine has."""
    said = deployment.ssh(machine).run(Command.of("/bin/sh", "-c", _INSTALLED), timeout_s=60).stdout
    lines = (line.split() for line in said.splitlines())
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] == "ii"}


def _apt(
    machine: Machine,
    deployment: Deployment,
    folder: Path,
    packages: Sequence[PackageVersion],
    words: Sequence[str],
    *,
    timeout_s: float,
) -> Upgraded:
    ssh = deployment.ssh(machine)
    before = installed(machine, deployment)
    ssh.run(Command.of("mkdir", "-p", _FOLDER), timeout_s=_PUT_S)
    try:
        with tempfile.TemporaryDirectory() as mine:
            tar = Path(mine) / "release.tar"
            _write_tar(tar, folder, [file_name(one) for one in packages], deployment)
            ssh.put(tar, f"{_FOLDER}/release.tar", timeout_s=_PUT_S)
        ssh.run(script(f"cd {_FOLDER} && tar -xf release.tar && rm release.tar"), timeout_s=_PUT_S)
        source = f"cd {_FOLDER}\n" + files("gridvisor.app.site").joinpath("upgrade.sh").read_text()
        said = ssh.run(script(source, str(int(timeout_s)), *words), timeout_s=timeout_s + _MORE_S).stdout
    finally:
        ssh.run(Command.of("rm", "-rf", _FOLDER), timeout_s=_PUT_S, check=False)
    *lines, status = said.splitlines() or [""]
    if status != "0":
        raise _failure(machine, lines, status, timeout_s)
    return Upgraded(before, installed(machine, deployment), "\n".join(lines))


def _failure(machine: Machine, lines: Sequence[str], status: str, timeout_s: float) -> UpgradeFailed:
    text = "\n".join(lines)
    named = _CULPRIT.findall(text)
    last = "\n".join(f"    | {line}" for line in lines[-_LAST_LINES:])
    if status == "hung":
        hanging = re.findall(r"/var/lib/dpkg/info/([a-z0-9+.-]+?)(?::[a-z0-9]+)?\.(?:pre|post)(?:inst|rm)", text)
        what = f"The upgrade of '{machine.name}' had not ended after {timeout_s:.0f} s, and was ended"
        return UpgradeFailed(f"{what}:\n{last}", hanging[-1] if hanging else "")
    what = f"apt cannot upgrade '{machine.name}'" if status != "lost" else f"apt was killed on '{machine.name}'"
    return UpgradeFailed(f"{what}:\n{last}", named[-1] if named else "")


def _write_tar(tar: Path, folder: Path, names: Sequence[str], deployment: Deployment) -> None:
    index = tar.parent / "Packages"
    write_index(folder, target=deployment.host.target, only=sorted(names), into=index)
    with tarfile.open(tar, "w") as archive:
        archive.add(index, "Packages")
        for name in names:
            archive.add(folder / name, name)


def _package_of(deb: Path) -> PackageVersion | None:
    name, _, rest = deb.stem.partition("_")
    version, _, architecture = rest.partition("_")
    return PackageVersion(name, version.replace("%3a", ":"), architecture, "") if architecture else None
