"""Roles: what a machine of the site is for, as a folder describes it; a folder beside the site file overrides ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gridvisor.site.document import read_document
from gridvisor.site.model import Mib, NetworkName, Strict, spelled

ROLE_FILE = "role.yaml"
_TREE = "tree"
_PREPARE = "prepare.sh"


def _no_system_volume(label: str) -> str:
    if label in ("disk", "swap"):
        raise ValueError(f"a data volume cannot be called '{label}': every machine has one of that name")
    return label


# Names of files, units and ext4 labels. No hyphen: MACHINE-disk is told from MACHINE-LABEL by what follows the last.
VolumeLabel = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9]*$", max_length=16),
    spelled("a label of small letters and digits that begins with a letter"),
    AfterValidator(_no_system_volume),
]
Mount = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$"), spelled("a folder such as '/srv/data'")]


class RoleVolume(Strict):
    """A data volume: where it is mounted, and how large it is unless the site file says otherwise."""

    size_mib: Mib = Field(alias="size", description="Its size.")
    mount: Mount = Field(description="The folder that it is mounted on.")


class Check(Strict):
    """Something that must be so before a machine is ready: a shell command that ends with 0."""

    what: str = Field(description="What is waited for, in words.")
    command: str = Field(description="A command for /bin/sh, run as root.")


class Reload(Strict):
    """What to do in a running machine when files were replaced whose path begins so."""

    files: tuple[str, ...] = Field(strict=False, description="Beginnings of paths.")
    command: str = Field(description="A command for /bin/sh, run as root.")


class RoleSpec(Strict):
    """role.yaml."""

    summary: str = Field("", description="One line: what the machine is for.")
    packages: tuple[str, ...] = Field((), strict=False, description="Debian packages on top of the base.")
    size_mib: Mib = Field(2048, alias="size", description="The size of its root filesystem.")
    memory_mib: Mib = Field(128, alias="memory", description="Memory of a machine, unless the site file says.")
    swap_mib: Mib | None = Field(None, alias="swap", description="A swap volume of that size.")
    networks: tuple[NetworkName, ...] = Field(("site",), strict=False, min_length=1, description="Its networks.")
    needs: tuple[str, ...] = Field((), strict=False, description="Roles that it cannot end in order without.")
    gateway_of: tuple[NetworkName, ...] = Field((), strict=False, description="Networks whose machines it leads out.")
    volumes: dict[VolumeLabel, RoleVolume] = Field({}, description="Its data volumes, by their labels.")
    services: tuple[str, ...] = Field((), strict=False, description="Units that must be active.")
    ready: tuple[Check, ...] = Field((), strict=False, description="What must answer, after the units are active.")
    private: tuple[str, ...] = Field((), strict=False, description="Files of the tree that only root may read.")
    reload: tuple[Reload, ...] = Field((), strict=False, description="What follows when files are replaced.")

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, data: Any) -> Any:
        return {} if data is None else data


@dataclass(frozen=True, slots=True)
class Role:
    """A role, put together from its folders: the shipped one first, then the administrator's."""

    name: str
    summary: str
    packages: tuple[str, ...]
    size_mib: int
    memory_mib: int
    swap_mib: int | None
    networks: tuple[str, ...]
    needs: tuple[str, ...]
    gateway_of: tuple[str, ...]
    volumes: Mapping[str, RoleVolume]
    services: tuple[str, ...]
    ready: tuple[Check, ...]
    private: tuple[str, ...]
    reload: tuple[Reload, ...]
    trees: tuple[Path, ...]
    prepare: tuple[Path, ...]


def find_roles(roots: Sequence[Path]) -> dict[str, Role]:
    """All roles below these folders, by name.

    Of a role that several have, a later role.yaml replaces the keys that it names, later files of the tree replace
    those of the same path, and every prepare.sh is run, in this order. Raises InputError for a wrong role.yaml.
    """
    folders: dict[str, list[Path]] = {}
    for root in roots:
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if any((folder / part).exists() for part in (ROLE_FILE, _TREE, _PREPARE)):
                folders.setdefault(folder.name, []).append(folder)
    return {name: load_role(name, found) for name, found in folders.items()}


def load_role(name: str, folders: Sequence[Path]) -> Role:
    """The role `name` of these folders; see `find_roles`."""
    said: dict[str, Any] = {}
    for folder in folders:
        if (folder / ROLE_FILE).is_file():
            spec = read_document(folder / ROLE_FILE, RoleSpec).value
            said |= {key: getattr(spec, key) for key in spec.model_fields_set}
    whole = RoleSpec.model_construct(**{**_defaults(), **said})
    return Role(
        name=name,
        **{key: getattr(whole, key) for key in RoleSpec.model_fields},
        trees=tuple(folder / _TREE for folder in folders if (folder / _TREE).is_dir()),
        prepare=tuple(folder / _PREPARE for folder in folders if (folder / _PREPARE).is_file()),
    )


def _defaults() -> dict[str, Any]:
    return {key: info.get_default(call_default_factory=True) for key, info in RoleSpec.model_fields.items()}
