"""The site file's keys. This table drives the reading, the JSON Schema for editors and the reference page."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from gridvisor.core.units import parse_size

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_PORTS = re.compile(r"([0-9]{1,5})(?::([0-9]{1,5}))?")
# What `parse_size` takes. A schema knows no flags: the letters stand in both cases.
SIZE_PATTERN = r"^\s*[0-9]{1,15}(\.[0-9]{1,3})?\s*[KMGTkmgt]?([Ii]?[Bb])?\s*$"


def spelled(words: str) -> WrapValidator:
    """For text of a pattern: an error says that it is not `words`, in place of the regular expression."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError as error:
            if error.errors()[0]["type"] == "string_pattern_mismatch":
                raise ValueError(f"'{value}' is not {words}") from error
            raise

    return WrapValidator(check)


_HYPHENS = spelled("a name of small letters and digits, with hyphens between them")
_PLAIN = spelled("a name of small letters, digits and hyphens that begins with a letter")

SiteName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=24), _HYPHENS]
MachineName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=30), _HYPHENS]
NetworkName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=15), _PLAIN]
DomainName = Annotated[
    str,
    StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=200),
    spelled("a DNS domain such as 'grid.test', in small letters"),
]
UserName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=31),
    spelled("a name of small letters, digits, - and _ that begins with a letter"),
]
VoName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9.-]*$", max_length=28),
    spelled("a name of small letters, digits, - and . that begins with a letter"),
]
Suite = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$"), spelled("a suite such as 'trixie', in small letters")
]
MonitorName = Annotated[
    str,
    StringConstraints(pattern=r"^(auto|uml|xen|xen\+ssh://\S+|box)$"),
    spelled("one of auto, uml, xen, xen+ssh://root@dom0 and box"),
]


def _mib(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is not a size such as '256MiB'")
    if isinstance(value, int):
        raise ValueError(f"{value} has no unit; a size is written '{value}MiB'")
    size_bytes = parse_size(value)
    if size_bytes % (1 << 20) or not size_bytes:
        raise ValueError(f"'{value}' is not a whole number of MiB, one at least")
    return size_bytes >> 20


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a network such as '10.20.0.0/24'")
    try:
        network = IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"'{value}' is not a network such as '10.20.0.0/24': {error}") from error
    if network.prefixlen > 29 or network.is_loopback or network.is_multicast or network.is_unspecified:
        raise ValueError(f"'{value}' is no network for machines: at most /29, and not loopback or multicast")
    return network


def _address(value: object) -> object:
    try:
        return IPv4Address(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"'{value}' is not an address such as '10.20.0.7'") from error


def _port(one: object) -> object:
    """9090 → (9090, 9090), '8443:443' → (8443, 443)."""
    match = None if isinstance(one, bool) else _PORTS.fullmatch(str(one))
    if match is None:
        raise ValueError(f"{one!r} is not a port such as 9090, or 'HOSTPORT:PORT'")
    port, guest_port = int(match[1]), int(match[2] or match[1])
    if not (0 < port < 65536 and 0 < guest_port < 65536):
        raise ValueError(f"{one!r}: ports go from 1 to 65535")
    return port, guest_port


_EACH_PORT = TypeAdapter(list[Annotated[tuple[int, int], BeforeValidator(_port)]])


def _ports(value: object) -> object:
    """[9090, '8443:443'] → {9090: 9090, 8443: 443}."""
    ports: dict[int, int] = {}
    # By an adapter, so that an error names the one of the list that is wrong.
    for port, guest_port in _EACH_PORT.validate_python(value if isinstance(value, list) else [value]):
        if port in ports:
            raise ValueError(f"port {port} is named twice")
        ports[port] = guest_port
    return ports


def _text(pattern: str) -> Any:
    """For the schema: text of that form."""
    return Annotated[str, StringConstraints(pattern=pattern)]


_Port: Any = Annotated[int, Field(ge=1, le=65535)] | _text(f"^{_PORTS.pattern}$")

Mib = Annotated[int, BeforeValidator(_mib, json_schema_input_type=_text(SIZE_PATTERN))]
Network = Annotated[IPv4Network, BeforeValidator(_network, json_schema_input_type=_text(r"^[0-9.]+/[0-9.]+$"))]
Address = Annotated[IPv4Address, BeforeValidator(_address, json_schema_input_type=_text(r"^[0-9.]+$"))]
Ports = Annotated[dict[int, int], BeforeValidator(_ports, json_schema_input_type=_Port | list[_Port])]


class Strict(BaseModel):
    """A model that takes its own keys and no others, and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class User(Strict):
    """Somebody who uses the site: an account on the UI, with a certificate."""

    name: UserName = Field(description="The account's name.", examples=["tester"])
    vo: VoName = Field(description="The virtual organisation that the user belongs to.", examples=["dteam"])


class MachineSpec(Strict):
    """A machine of the site, or several alike."""

    role: str | None = Field(None, description="What it is: a role's name. Without it, the machine's own name.")
    count: int | None = Field(None, ge=0, le=4000, description="How many: NAME1, NAME2 … Without it, one: NAME.")
    memory_mib: Mib | None = Field(None, alias="memory", description="Its memory.", examples=["256MiB"])
    vcpus: int = Field(1, ge=1, le=64, description="Its processors; monitors that cannot give several give one.")
    volumes: dict[str, Mib] = Field({}, description="Sizes of the role's data volumes.", examples=[{"data": "2GiB"}])
    address: Address | None = Field(None, description="Its address in its first network, if not one that is chosen.")


def _nothing_said(value: object) -> object:
    """`ui:` alone is a machine with nothing said of it."""
    return {} if value is None else value


Entry = Annotated[MachineSpec, BeforeValidator(_nothing_said, json_schema_input_type=MachineSpec | None)]


class Site(Strict):
    """A Grid site."""

    site: SiteName = Field(description="The site's name.", examples=["kiam-test"])
    domain: DomainName = Field("grid.test", description="The DNS domain of its machines; may be production's own.")
    monitor: MonitorName = Field("auto", description="Where machines run: auto, uml, xen, xen+ssh://root@dom0, box.")
    release: Suite = Field("trixie", description="The Debian suite that packages come from.")
    networks: dict[NetworkName, Network] = Field(
        {"site": IPv4Network("10.20.0.0/24"), "farm": IPv4Network("10.20.1.0/24")},
        description="The site's networks. The first address of each is the host's own.",
        validate_default=False,
    )
    vos: list[VoName] = Field(["dteam"], min_length=1, description="The virtual organisations that it serves.")
    users: list[User] = Field([User(name="tester", vo="dteam")], min_length=1, description="Its users.")
    machines: dict[MachineName, Entry] = Field(min_length=1, description="Its machines.")
    publish: dict[MachineName, Ports] = Field(
        {}, description="Ports of machines that are to answer on 127.0.0.1 of the host.", examples=[{"mon": [9090]}]
    )
    overcommit: bool = Field(False, description="Whether its volumes, when full, may exceed the disk together.")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """A first VO that is not 'dteam' gets the default user."""
        if not isinstance(data, dict):
            raise ValueError("a site file has keys such as 'site:' and 'machines:'")
        data = dict(data)
        vos = data.get("vos")
        if "users" not in data and isinstance(vos, list) and vos and isinstance(vos[0], str):
            data["users"] = [{"name": "tester", "vo": vos[0]}]
        return data


def site_schema() -> dict[str, Any]:
    """The site file as JSON Schema, for editors. It takes what the model takes, and refuses what a schema can tell."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Site.model_json_schema(by_alias=True)}
    for one in schema["properties"].values():
        if "patternProperties" in one:
            one["additionalProperties"] = False  # pydantic lets names pass that are not of the pattern
    return schema
