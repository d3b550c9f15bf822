"""What must fit together in a site file, beyond each value for itself; every problem is told, at its place."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from gridvisor.core.errors import InputError, Problem
from gridvisor.network.address import is_for_guests
from gridvisor.site.document import Document, read_document
from gridvisor.site.machine import Machine, expand, names_of, role_of
from gridvisor.site.model import MachineSpec, Site
from gridvisor.site.reserved import is_reserved
from gridvisor.site.role import Role, find_roles

SHIPPED = Path(__file__).parents[1] / "roles"
CANDIDATE_ROLES = "candidate-roles"  # beside the file of a site on trial
LEAST_MIB = 64
_HOST_NAME_MAX = 64  # the kernel's limit, sethostname(2)


def load_site(file: Path) -> tuple[Site, tuple[Machine, ...]]:
    """The site of that file, and its machines as they are where none was before. See `read_site`."""
    site, roles = read_site(file)
    return site, expand(site, roles)


def read_site(file: Path) -> tuple[Site, dict[str, Role]]:
    """The site of that file, and the roles that it can name: ours and those in the folder `roles` beside the file.

    A site on trial has those of the candidate as well, which come last. Raises InputError with all problems at once.
    Touches nothing.
    """
    document = read_document(file, Site)
    roles = find_roles((SHIPPED, file.parent / "roles", file.parent / CANDIDATE_ROLES))
    if problems := list(check_site(document, roles)):
        raise InputError(problems)
    return document.value, roles


def check_site(document: Document[Site], roles: Mapping[str, Role]) -> Iterator[Problem]:
    """All that does not fit together."""
    site = document.value
    yield from _check_networks(document)
    yield from _check_people(document)
    counts = Counter(one for name, spec in site.machines.items() for one in names_of(name, spec))
    known: dict[str, Role] = {}
    for name, spec in site.machines.items():
        if twice := next((one for one in names_of(name, spec) if counts[one] > 1), None):
            yield document.problem(f"two machines would be called '{twice}'", "machines", name, at_key=True)
        role = roles.get(role_of(name, spec))
        if role is None:
            yield _unknown_role(document, name, spec, roles)
        else:
            known[name] = role
            yield from _check_machine(document, name, spec, role)
    if len(known) == len(site.machines):
        yield from _check_room(document, known)
        yield from _check_gateways(document, known)
    yield from _check_published(document, set(counts))


def _check_networks(document: Document[Site]) -> Iterator[Problem]:
    networks = list(document.value.networks.items())
    for index, (name, network) in enumerate(networks):
        for other_name, other in networks[:index]:
            if network.overlaps(other):
                yield document.problem(f"{network} overlaps {other}, the network '{other_name}'", "networks", name)
        if name == "lo":
            yield document.problem("'lo' is the loopback's name", "networks", name, at_key=True)


def _check_people(document: Document[Site]) -> Iterator[Problem]:
    site = document.value
    for index, vo in enumerate(site.vos):
        if vo in site.vos[:index]:
            yield document.problem(f"the VO '{vo}' is named twice", "vos", index)
        elif longer := next((other for other in site.vos if other.startswith(vo) and other != vo), None):
            text = (
                f"members of '{vo}' would have the files of '{longer}' too: the storage element goes by a path's begin"
            )
            yield document.problem(text, "vos", index, hint="name VOs so that none begins with another's name")
    names = [user.name for user in site.users]
    for index, user in enumerate(site.users):
        if user.name in names[:index]:
            yield document.problem(f"two users would be called '{user.name}'", "users", index, "name")
        if is_reserved(user.name):
            text = f"'{user.name}' is an account or a group of the system, or of a service"
            yield document.problem(text, "users", index, "name", hint="take another name")
        if user.vo not in site.vos:
            hint = f"the VOs of this site: {', '.join(site.vos)}"
            yield document.problem(f"there is no VO '{user.vo}' here", "users", index, "vo", hint=hint)


def _unknown_role(document: Document[Site], name: str, spec: MachineSpec, roles: Mapping[str, Role]) -> Problem:
    role = role_of(name, spec)
    close = difflib.get_close_matches(role, roles, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(roles))}"
    if spec.role is None:
        text = f"'{name}' is no role's name, and no 'role' is given"
        return document.problem(text, "machines", name, at_key=True, hint=hint)
    return document.problem(f"there is no role '{role}'", "machines", name, "role", hint=hint)


def _check_machine(document: Document[Site], name: str, spec: MachineSpec, role: Role) -> Iterator[Problem]:
    site, at = document.value, ("machines", name)
    for network in role.networks:
        if network not in site.networks:
            hint = f"add under 'networks': {network}: 10.20.9.0/24"
            yield document.problem(f"the role '{role.name}' needs a network '{network}'", *at, at_key=True, hint=hint)
    if spec.memory_mib is not None and spec.memory_mib < LEAST_MIB:
        yield document.problem(
            f"{spec.memory_mib} MiB are too few; no guest boots in less than {LEAST_MIB} MiB", *at, "memory"
        )
    for volume in spec.volumes:
        if volume not in role.volumes:
            hint = f"it has: {', '.join(role.volumes)}" if role.volumes else "it has none"
            yield document.problem(
                f"the role '{role.name}' has no volume '{volume}'", *at, "volumes", volume, at_key=True, hint=hint
            )
    longest = max(names_of(name, spec), key=len, default=name)
    if len(f"{longest}.{site.domain}") > _HOST_NAME_MAX:
        yield document.problem(f"'{longest}.{site.domain}' is longer than {_HOST_NAME_MAX} letters", *at, at_key=True)
    yield from _check_address(document, name, spec, role)


def _check_address(document: Document[Site], name: str, spec: MachineSpec, role: Role) -> Iterator[Problem]:
    network = document.value.networks.get(role.networks[0])
    if spec.address is None or network is None:
        return
    at = ("machines", name, "address")
    if spec.count is not None:
        yield document.problem("several machines cannot have one address", *at, hint="leave 'count' or 'address' out")
    if not is_for_guests(spec.address, network):
        text = f"{spec.address} is no address for a machine in {network}, the network '{role.networks[0]}'"
        yield document.problem(text, *at, hint="leave it out, and one is chosen")
    for other, other_spec in document.value.machines.items():
        if other == name:
            return
        if other_spec.address == spec.address:
            yield document.problem(f"{spec.address} is the address of '{other}' already", *at)


def _check_room(document: Document[Site], roles: Mapping[str, Role]) -> Iterator[Problem]:
    site = document.value
    wanted: Counter[str] = Counter()
    for name, spec in site.machines.items():
        for network in roles[name].networks:
            wanted[network] += len(names_of(name, spec))
    for network, count in wanted.items():
        room = site.networks[network].num_addresses - 3 if network in site.networks else count
        if count > room:
            text = f"{count} machines are to be in '{network}', and {site.networks[network]} has room for {room}"
            yield document.problem(text, "networks", network, hint="take a larger network")


def _check_gateways(document: Document[Site], roles: Mapping[str, Role]) -> Iterator[Problem]:
    site = document.value
    leads: dict[str, list[str]] = {}
    for name, spec in site.machines.items():
        for network in roles[name].gateway_of:
            leads.setdefault(network, []).extend(names_of(name, spec))
    for network, names in leads.items():
        if len(names) > 1:
            last = next(name for name, spec in site.machines.items() if names[-1] in names_of(name, spec))
            text = f"'{network}' would have {len(names)} gateways: {', '.join(names)}"
            yield document.problem(text, "machines", last, at_key=True)


def _check_published(document: Document[Site], names: set[str]) -> Iterator[Problem]:
    owner: dict[int, str] = {}
    for name, ports in document.value.publish.items():
        if name not in names:
            hint = f"its machines: {', '.join(sorted(names))}"
            yield document.problem(f"the site has no machine '{name}'", "publish", name, at_key=True, hint=hint)
        for port in ports:
            if port in owner:
                yield document.problem(f"port {port} is published for '{owner[port]}' already", "publish", name)
            owner.setdefault(port, name)
