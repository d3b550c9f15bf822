"""The machines of a site, one by one: names, addresses, cards. The same site gives the same machines everywhere, but
for addresses that machines have kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from gridvisor.network.address import address_for, gateway_of, is_for_guests, mac_for
from gridvisor.site.model import MachineSpec, Site
from gridvisor.site.role import Role, RoleVolume

Addresses = Mapping[str, Mapping[str, IPv4Address]]
"""Addresses by machine and network."""

NO_ADDRESSES: Addresses = {}


@dataclass(frozen=True, slots=True)
class Card:
    """A machine's interface in one network; `gateway` is where its other traffic goes, if this is the way out."""

    network: str
    address: IPv4Address
    mac: str
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the site; `publish` maps ports of the host's 127.0.0.1 to its own."""

    name: str
    fqdn: str
    role: Role
    memory_mib: int
    vcpus: int
    interfaces: tuple[Card, ...]
    volumes: Mapping[str, RoleVolume]
    publish: Mapping[int, int]

    def __hash__(self) -> int:
        return hash(self.name)


def names_of(name: str, spec: MachineSpec) -> tuple[str, ...]:
    """The names of the machines of one entry: numbered when a count is given, so that growing renames none."""
    return (name,) if spec.count is None else tuple(f"{name}{number}" for number in range(1, spec.count + 1))


def role_of(name: str, spec: MachineSpec) -> str:
    """The role that an entry names, or is called by."""
    return spec.role or name


def expand(site: Site, roles: Mapping[str, Role], kept: Addresses = NO_ADDRESSES) -> tuple[Machine, ...]:
    """All machines, in the order of the file. The site must have passed `check_site`.

    A machine has the addresses that it `kept`, unless the file gives them away or they are not in its networks. Else an
    address follows from its name; when two names lead to the same one, the later in the file gets the next that is
    free. So without `kept` one machine more may move another. Raises Refused when a network is full.
    """
    entries = list(_entries(site, roles))
    taken = _fixed(site, entries)
    held = _held(site, entries, kept, taken)
    macs: set[str] = set()
    cards: dict[str, list[Card]] = {}
    for name, spec, role in entries:
        cards[name] = []
        for index, network in enumerate(role.networks):
            address = _given(spec, index) or held.get((name, network))
            if address is None:
                seed = f"{site.site}/{name}/{network}"
                address = address_for(seed, site.networks[network], taken[network])
                taken[network].add(address)
            mac = mac_for(f"{site.site}/{name}/{index}", macs)
            macs.add(mac)
            cards[name].append(Card(network, address, mac))
    gateways = {
        network: card.address
        for name, _, role in entries
        for card in cards[name]
        for network in role.gateway_of
        if card.network == network
    }
    return tuple(
        Machine(
            name=name,
            fqdn=f"{name}.{site.domain}",
            role=role,
            memory_mib=spec.memory_mib or role.memory_mib,
            vcpus=spec.vcpus,
            interfaces=_with_gateway(cards[name], role, gateways),
            volumes=_volumes(spec, role),
            publish=site.publish.get(name, {}),
        )
        for name, spec, role in entries
    )


def _entries(site: Site, roles: Mapping[str, Role]) -> Iterator[tuple[str, MachineSpec, Role]]:
    for name, spec in site.machines.items():
        for one in names_of(name, spec):
            yield one, spec, roles[role_of(name, spec)]


def _fixed(site: Site, entries: list[tuple[str, MachineSpec, Role]]) -> dict[str, set[IPv4Address]]:
    """Addresses that the file gives away, and the host's own."""
    taken = {name: {gateway_of(subnet)} for name, subnet in site.networks.items()}
    for _, spec, role in entries:
        if spec.address:
            taken[role.networks[0]].add(spec.address)
    return taken


def _held(
    site: Site, entries: list[tuple[str, MachineSpec, Role]], kept: Addresses, taken: dict[str, set[IPv4Address]]
) -> dict[tuple[str, str], IPv4Address]:
    """Which of the `kept` addresses stay, by machine and network; they are `taken` then."""
    held = {}
    for name, spec, role in entries:
        for index, network in enumerate(role.networks):
            address = None if _given(spec, index) else kept.get(name, {}).get(network)
            if address and is_for_guests(address, site.networks[network]) and address not in taken[network]:
                held[name, network] = address
                taken[network].add(address)
    return held


def _given(spec: MachineSpec, index: int) -> IPv4Address | None:
    """The address that the file gives the machine's card of that index."""
    return spec.address if index == 0 else None


def _with_gateway(cards: list[Card], role: Role, gateways: Mapping[str, IPv4Address]) -> tuple[Card, ...]:
    """The first card whose network has a gateway that is another machine leads out."""
    for index, card in enumerate(cards):
        gateway = gateways.get(card.network)
        if gateway is not None and card.network not in role.gateway_of:
            return (*cards[:index], Card(card.network, card.address, card.mac, gateway), *cards[index + 1 :])
    return tuple(cards)


def _volumes(spec: MachineSpec, role: Role) -> dict[str, RoleVolume]:
    return {
        name: volume.model_copy(update={"size_mib": spec.volumes.get(name, volume.size_mib)})
        for name, volume in role.volumes.items()
    }
