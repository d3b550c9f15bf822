"""What a machine keeps from one life to the next: its folder, its address and its MACs.

A machine is known by its domain's name, which may change; its folder below `<state>/machines/` may not, since a running
guest has files of it open. The folder also holds its keys and machine-id, so that a domain that is created again with
the same volumes is the same machine to everyone who knew it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from gridvisor.core.errors import Refused
from gridvisor.core.files import locked, write_whole
from gridvisor.core.places import Places
from gridvisor.domain.model import Domain
from gridvisor.network.address import address_for, gateway_of, mac_for


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's folder, its address in its network, and a MAC for each of its interfaces."""

    name: str
    folder: Path
    address: IPv4Address
    macs: tuple[str, ...]


class Machines:
    """All machines of one state folder."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._root = places.state / "machines"

    def settle(self, domain: Domain, subnet: IPv4Network) -> Machine:
        """The machine of `domain`, with what its configuration gives and, for the rest, what it had or is given now.

        Raises Refused when the configuration claims an address or a MAC that another machine has.
        """
        with self._table() as others:
            mine = others.pop(domain.name, None)
            addresses = {other.address: other.name for other in others.values()}
            macs = {mac: other.name for other in others.values() for mac in other.macs}
            address = _address(domain, subnet, mine, addresses)
            folder = mine.folder if mine else self._root / secrets.token_hex(6)
            machine = Machine(domain.name, folder, address, self._macs(domain, mine, macs))
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _note(machine)
        return machine

    def find(self, name: str) -> Machine | None:
        """The machine of that name, if it was ever settled."""
        with self._table() as machines:
            return machines.get(name)

    def rename(self, name: str, new_name: str) -> None:
        """Let the machine be known by another name; what an earlier machine of that name left goes."""
        with self._table() as machines:
            if new_name in machines:
                shutil.rmtree(machines[new_name].folder)
            if name in machines:
                _note(replace(machines[name], name=new_name))

    def forget(self, name: str) -> None:
        """Remove the machine's keys, ids and claims; absent is fine."""
        with self._table() as machines:
            if name in machines:
                shutil.rmtree(machines[name].folder)

    @contextmanager
    def _table(self) -> Iterator[dict[str, Machine]]:
        with locked(self._places.state / "machines.lock"):
            found = [_noted(path) for path in self._root.glob("*/machine.json")]
            yield {machine.name: machine for machine in found}

    def _macs(self, domain: Domain, mine: Machine | None, taken: dict[str, str]) -> tuple[str, ...]:
        macs: list[str] = []
        for index, vif in enumerate(domain.vifs):
            if vif.mac is not None and vif.mac in taken:
                raise Refused(
                    f"The MAC {vif.mac} belongs to the machine '{taken[vif.mac]}'.",
                    hint=f"gridvisor domain destroy --volumes {taken[vif.mac]}, if that machine is not needed any more",
                )
            kept = mine.macs[index] if mine is not None and index < len(mine.macs) else None
            seed = f"{self._places.tag}/{domain.name}/{index}"
            macs.append(vif.mac or kept or mac_for(seed, {*taken, *macs}))
        return tuple(macs)


def _note(machine: Machine) -> None:
    facts = {"name": machine.name, "address": str(machine.address), "macs": machine.macs}
    write_whole(machine.folder / "machine.json", json.dumps(facts))


def _noted(path: Path) -> Machine:
    facts = json.loads(path.read_text())
    return Machine(facts["name"], path.parent, IPv4Address(facts["address"]), tuple(facts["macs"]))


def _address(domain: Domain, subnet: IPv4Network, mine: Machine | None, taken: dict[IPv4Address, str]) -> IPv4Address:
    given = domain.ip or next((vif.ip for vif in domain.vifs if vif.ip), None)
    if given is None:
        if mine is not None and mine.address in subnet and mine.address not in taken:
            return mine.address
        return address_for(domain.name, subnet, taken)
    address = IPv4Address(given.split()[0].partition("/")[0])
    if address in taken:
        raise Refused(
            f"The address {address} belongs to the machine '{taken[address]}'.",
            hint=f"gridvisor domain destroy --volumes {taken[address]}, if that machine is not needed any more",
        )
    if address not in subnet or address in (subnet.network_address, gateway_of(subnet), subnet.broadcast_address):
        raise Refused(
            f"The address {address} is not one for guests of {subnet}, the network of this host's domains.",
            hint="leave 'ip' out, and one is chosen",
        )
    return address
