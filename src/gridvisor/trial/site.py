"""The sites of a trial: made from the user's site file, beside whatever runs of that site, and never that itself."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from gridvisor.app.host import Host
from gridvisor.app.site.addresses import keep_addresses
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import deployed, keep_site_file, load_known_site, open_deployment, site_file
from gridvisor.core.errors import Refused
from gridvisor.core.files import write_whole
from gridvisor.site.check import CANDIDATE_ROLES, load_site

_LONGEST = 24  # letters of a site's name
_FILE = "site.yaml"
_OF_TRIAL = "of-trial"  # in the folder of a site: it may be removed by the next trial


@dataclass(frozen=True, slots=True)
class Model:
    """The user's site: what the sites of a trial are made after. `machines` are roles by names."""

    name: str
    file: Path
    machines: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, host: Host, named: str | None) -> Model:
        """What the user named: a site file, or a site that is up. Raises InputError with all problems of the file."""
        file = site_file(host.places, named)
        site, machines = load_site(file)
        return cls(site.site, file, {machine.name: machine.role.name for machine in machines})

    def copy_to(self, folder: Path) -> None:
        """Put a copy of its file, and of the roles beside it, into that folder."""
        shutil.copyfile(self.file, folder / _FILE)
        if (self.file.parent / "roles").is_dir():
            shutil.copytree(self.file.parent / "roles", folder / "roles", symlinks=True)

    def at(self, folder: Path) -> Model:
        """The same site, by the copy of its file in that folder."""
        return replace(self, file=folder / _FILE)


def trial_name(site: str, what: str) -> str:
    """The name of the trial's site `what`: of the user's, 'kiam-test-fresh'; shortened when it would be too long."""
    name = f"{site}-{what}"
    if len(name) <= _LONGEST:
        return name
    short = hashlib.sha256(site.encode()).hexdigest()[:6]
    return f"{site[: _LONGEST - len(what) - len(short) - 2].rstrip('-')}-{short}-{what}"


def make_site(host: Host, model: Model, what: str, folder: Path) -> Deployment:
    """The trial's site `what`, known to all commands by its name, with nothing published and the same addresses.

    What it is made from stays in `folder`. Nothing is booted.
    """
    name = trial_name(model.name, what)
    own = folder / what
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    told = yaml.safe_load(model.file.read_text())
    told["site"] = name
    told.pop("publish", None)
    write_whole(own / _FILE, yaml.safe_dump(told, sort_keys=False))
    if (model.file.parent / "roles").is_dir():
        shutil.copytree(model.file.parent / "roles", own / "roles", symlinks=True)
    _, machines = load_known_site(host.places, model.file)
    target = host.places.state / "sites" / name
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(target / _OF_TRIAL, "")
    keep_addresses(target, machines)
    site, machines = load_known_site(host.places, own / _FILE)
    deployment = deployed(host, site, machines)
    keep_site_file(deployment, own / _FILE)
    shutil.rmtree(target / CANDIDATE_ROLES, ignore_errors=True)
    return open_deployment(host, name)


def with_candidate_roles(deployment: Deployment, roles: Path, names: tuple[str, ...]) -> Deployment:
    """The site once it has the candidate's files of these roles, those that the candidate says something of."""
    into = deployment.folder / CANDIDATE_ROLES
    for name in names:
        if (roles / name).is_dir():
            shutil.rmtree(into / name, ignore_errors=True)
            shutil.copytree(roles / name, into / name, symlinks=True)
    return open_deployment(deployment.host, deployment.site.site)


def without_candidate_roles(deployment: Deployment) -> Deployment:
    """The site as it is without the candidate's files of roles."""
    shutil.rmtree(deployment.folder / CANDIDATE_ROLES, ignore_errors=True)
    return open_deployment(deployment.host, deployment.site.site)


def known_to_host(host: Host, name: str) -> Deployment | None:
    """The site of that name as an earlier run has left it; None when it has left none.

    Raises Refused for a site that somebody else has named so.
    """
    folder = host.places.state / "sites" / name
    if not (folder / _FILE).exists():
        return None
    if not (folder / _OF_TRIAL).exists():
        raise Refused(
            f"The site '{name}' is not a trial's, and a trial's would have its name.",
            hint=f"gridvisor destroy {name}, or give the site that is tried another name",
        )
    return open_deployment(host, name)
