"""The numeric ids that users and VOs of a site were given, kept in its folder: they stay when the site file changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.roles.context import ACCOUNTS_FROM_UID, USERS_FROM_UID
from gridvisor.site.model import Site

_FILE = "ids.json"


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids by name; of names that the site file has no more, too: disks still have files of theirs."""

    users: Mapping[str, int]
    vos: Mapping[str, int]


def ids_of(folder: Path, site: Site) -> Ids:
    """The ids that were kept in the site's folder, and for new names the next ones."""
    try:
        kept = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        kept = {"users": {}, "vos": {}}
    return Ids(
        users=with_new(kept["users"], (user.name for user in site.users), USERS_FROM_UID),
        vos=with_new(kept["vos"], site.vos, ACCOUNTS_FROM_UID),
    )


def keep_ids(folder: Path, ids: Ids) -> None:
    """Keep the ids."""
    write_whole(folder / _FILE, json.dumps(asdict(ids)))


def with_new(kept: Mapping[str, int], names: Iterable[str], first: int) -> dict[str, int]:
    """The ids `kept`, and for each other name the one after the highest; `first` for the first name."""
    ids = dict(kept)
    for name in names:
        ids.setdefault(name, max(ids.values(), default=first - 1) + 1)
    return ids
