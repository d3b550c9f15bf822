"""Where trials lie: a folder each, `<state>/trials/<site>/<id>/`, with `trial.json`, evidence and reports beside it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.core.files import locked, try_locked, write_whole
from gridvisor.core.places import Places
from gridvisor.trial.model import Stage, Trial

_RECORD = "trial.json"
_SLUG_MAX = 40
_ADAPTER = TypeAdapter(Trial)


class TrialStore:
    """The trials of this host. Folders that are torn or not a trial's are passed over."""

    def __init__(self, places: Places) -> None:
        self._root = places.state / "trials"

    def alone(self, site: str) -> AbstractContextManager[bool]:
        """Hold trials of the site to one at a time; False when another one runs."""
        return try_locked(self._root / f"{site}.lock")

    def begin(self, site: str, candidate: str, summary: str = "", *, wanted: Sequence[Stage] = tuple(Stage)) -> Trial:
        """A new trial, kept already. No other has its id, of whatever site, also when two begin in one second."""
        began_s = time.time()
        stem = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(began_s))}-{_slug(candidate)}"
        with locked(self._root / "begin.lock"):
            taken = {folder.name for folder in self._folders()}
            number, id = 1, stem
            while id in taken:
                number += 1
                id = f"{stem}-{number}"
            trial = Trial(id, site, candidate, summary, began_s, tuple(wanted))
            # What is in logs is not for everybody: the folder is its owner's alone.
            self.folder_of(trial).mkdir(parents=True, mode=0o700)
        self.save(trial)
        return trial

    def save(self, trial: Trial) -> None:
        """Keep the trial as far as it has come, whole or not at all."""
        write_whole(self.folder_of(trial) / _RECORD, to_json(trial))

    def read(self, id: str) -> Trial:
        """The trial of that id. Raises Refused when there is none, GridvisorError when it cannot be read."""
        for folder in self._folders():
            if folder.name == id and (folder / _RECORD).exists():
                if trial := _trial_of(folder):
                    return trial
                raise GridvisorError(
                    f"The trial '{id}' cannot be read: '{folder / _RECORD}' is torn, or of another version.",
                    hint=f"gridvisor report rm {id}",
                )
        raise Refused(f"There is no trial '{id}'.", hint="gridvisor report list")

    def list(self, site: str | None = None) -> tuple[Trial, ...]:
        """All trials, or those of one site, newest first."""
        found = (_trial_of(folder) for folder in self._folders(site))
        return tuple(sorted((one for one in found if one), key=lambda one: (one.began_s, one.id), reverse=True))

    def ids(self) -> tuple[str, ...]:
        """The ids of what looks like a trial, newest first, without reading any."""
        return tuple(sorted((one.name for one in self._folders() if (one / _RECORD).exists()), reverse=True))

    def remove(self, id: str) -> None:
        """Remove the trial of that id with its evidence. Raises Refused when there is none, or while it runs."""
        for folder in self._folders():
            if folder.name == id:
                trial = _trial_of(folder)
                with self.alone(folder.parent.name) as alone:
                    if not alone and trial is not None and trial.ended_s is None:
                        raise Refused(f"The trial '{id}' runs.", hint="wait for its end")
                    gone = folder.with_name(f".{id}")  # a folder that is hidden is no trial
                    folder.rename(gone)
                    shutil.rmtree(gone)
                return
        raise Refused(f"There is no trial '{id}'.", hint="gridvisor report list")

    def folder_of(self, trial: Trial) -> Path:
        """Where the trial's files are."""
        return self._root / trial.site / trial.id

    def _folders(self, site: str | None = None) -> Iterator[Path]:
        for folder in self._root.glob("[!.]*/[!.]*"):
            if folder.is_dir() and site in (None, folder.parent.name):
                yield folder


def to_json(trial: Trial) -> bytes:
    """The trial as JSON in UTF-8; what no Unicode can be, from a guest's output, becomes a question mark."""
    data = _ADAPTER.dump_python(trial)
    return json.dumps(data, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"


def from_json(data: bytes) -> Trial:
    """The trial of that JSON. Raises ValueError for anything else."""
    return _ADAPTER.validate_json(data)


def _trial_of(folder: Path) -> Trial | None:
    """The trial of a folder; None when it is torn or another's."""
    try:
        trial = from_json((folder / _RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return trial if (trial.site, trial.id) == (folder.parent.name, folder.name) else None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_MAX].strip("-") or "candidate"
