"""The story of `verify`: may production have the candidate?"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from gridvisor.app.host import Host, require_root
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.down import destroy
from gridvisor.core.errors import Refused
from gridvisor.core.files import write_whole
from gridvisor.release.candidate import DEFAULT_ORDER, Candidate, read_candidate
from gridvisor.trial.bisect import blamed, find_guilty
from gridvisor.trial.course import UPGRADE_S, Course
from gridvisor.trial.fresh import FRESH, fresh
from gridvisor.trial.known import Known, apply_known, unused_notes
from gridvisor.trial.model import Stage, Trial, Weight
from gridvisor.trial.rollback import rollback
from gridvisor.trial.seal import seal
from gridvisor.trial.self_check import TRIAL, self_check
from gridvisor.trial.site import Model, known_to_host, trial_name
from gridvisor.trial.store import TrialStore
from gridvisor.trial.upgrade import upgrade
from gridvisor.trial.verdict import against, verdict_of

STORIES: dict[Stage, Callable[[Course], None]] = {
    Stage.SELF_CHECK: self_check,
    Stage.FRESH: fresh,
    Stage.UPGRADE: upgrade,
    Stage.ROLLBACK: rollback,
}
_SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """What is to be tried: a candidate on a site, in these stages.

    With `keep`, the trial's sites stay for a look, and one whose upgrade has failed is not rolled back. With `bisect`,
    what is guilty of the upgrade's failure is looked for. `known` are failures that do not count. With `anew`, a trial
    of the same that was broken off is not gone on with. `upgrade_s` is what apt may take on a machine.
    """

    site: str | None
    candidate: Path
    stages: tuple[Stage, ...] = tuple(STORIES)
    known: tuple[Known, ...] = ()
    probes: tuple[Path, ...] = ()
    bisect: bool = False
    keep: bool = False
    anew: bool = False
    upgrade_s: float = UPGRADE_S


def verify(wish: VerifyWish, host: Host) -> Trial:
    """Try the candidate on sites of the trial's own, and judge it. May be killed at any moment and called again.

    A site that is up is not touched. Raises InputError for a wrong file, Refused while another trial of the site runs.
    """
    require_root()
    model = Model.of(host, wish.site)
    candidate = read_candidate(wish.candidate)
    _require_meant_for(model, candidate, host)
    store = TrialStore(host.places)
    with store.alone(model.name) as alone:
        if not alone:
            raise Refused(f"Another trial of the site '{model.name}' runs.", hint="wait for its end")
        course = _course(wish, host, model, candidate, store)
        stays = wish.keep and not _is_rolled_back(course.trial)
        for stage in course.trial.wanted:
            if stays and stage is Stage.ROLLBACK and _says_no(course, wish, Stage.UPGRADE):
                host.bus.note("the site stays as the upgrade has left it, so it is not rolled back")
                break
            if stage not in {result.stage for result in course.trial.stages}:
                STORIES[stage](course)
            if _says_no(course, wish, Stage.SELF_CHECK):
                break
        if wish.bisect:
            stand_against = against(_weighed(course.trial, wish.known))
            course.note(guilty=find_guilty(course, stand_against, keep=stays))
        trial = _judged(blamed(course.trial), wish.known)
        for text in unused_notes(wish.known, trial):
            host.bus.note(text)
        # Sealed first: a trial that has ended has its lock.
        keys = host.places.state / "keys"
        seal(trial, course.release, course.candidate.roles, course.folder, keys=keys, target=host.target)
        course.note(stages=trial.stages, verdict=trial.verdict, ended_s=time.time())
        if not wish.keep:
            _remove_sites(host, model)
        for site in _sites(host, model):
            name = site.site.site
            host.bus.note(f"the site '{name}' stays: gridvisor ssh -s {name} {site.machines[0].name}")
    return course.trial


def _course(wish: VerifyWish, host: Host, model: Model, candidate: Candidate, store: TrialStore) -> Course:
    """A new trial; or one of the same subject that was broken off, if the site that its self-check made is there."""
    subject = _subject(model, candidate, wish)
    trial = None if wish.anew else _broken_off(store, model, subject)
    if trial is not None and trial.stages and known_to_host(host, trial_name(model.name, TRIAL)):
        done = ", ".join(result.stage for result in trial.stages)
        host.bus.note(f"goes on with the trial {trial.id}, which has: {done}")
    else:
        if trial is not None:
            host.bus.note(f"the trial {trial.id} was broken off before its first stage had ended; begins anew")
        _remove_sites(host, model)  # of another subject, maybe: a stage must not take them for this one's
        trial = store.begin(model.name, candidate.name, candidate.summary, wanted=wish.stages)
        write_whole(store.folder_of(trial) / _SUBJECT, subject)
    folder = store.folder_of(trial)
    model, candidate = _kept(model, candidate, folder)
    return Course(host, model, candidate, folder, trial, store.save, probes=wish.probes, upgrade_s=wish.upgrade_s)


def _kept(model: Model, candidate: Candidate, folder: Path) -> tuple[Model, Candidate]:
    """Both with copies in the trial's folder of what its user may edit meanwhile: all stages try the same.

    Of the candidate's roles those that machines of the site have.
    """
    kept = folder / "inputs"
    if not kept.exists():
        work = folder / ".inputs"
        shutil.rmtree(work, ignore_errors=True)
        (work / "candidate").mkdir(parents=True)
        model.copy_to(work)
        for role in sorted(set(model.machines.values())):
            if candidate.roles is not None and (candidate.roles / role).is_dir():
                shutil.copytree(candidate.roles / role, work / "candidate" / role, symlinks=True)
        work.rename(kept)
    roles = None if candidate.roles is None else kept / "candidate"
    return model.at(kept), replace(candidate, roles=roles)


def _require_meant_for(model: Model, candidate: Candidate, host: Host) -> None:
    """Raise Refused when no machine of the site has anything of the candidate; warn of words that mean none of them."""
    known = {*model.machines, *model.machines.values(), *DEFAULT_ORDER}
    for word in candidate.order:
        if word not in known:
            host.bus.warn(
                f"{candidate.file}: 'order' names '{word}', which is no role and no machine of '{model.name}'"
            )
    has = set(model.machines.values())
    for role in candidate.changed_roles:
        if role not in has:
            host.bus.warn(
                f"no machine of '{model.name}' has the role '{role}': the candidate's files of it are not tried"
            )
    if not candidate.packages and not has & set(candidate.changed_roles):
        text = f"The candidate '{candidate.name}' has no file of a role that a machine of '{model.name}' has."
        raise Refused(text, hint=f"these have the roles: {', '.join(sorted(has))}")


def _broken_off(store: TrialStore, model: Model, subject: str) -> Trial | None:
    """The newest trial of this site, if it is of the same subject and has not ended."""
    for trial in store.list(model.name):
        file = store.folder_of(trial) / _SUBJECT
        same = file.exists() and file.read_text() == subject
        return trial if same and trial.ended_s is None else None
    return None


def _subject(model: Model, candidate: Candidate, wish: VerifyWish) -> str:
    """What tells one trial from another: site file, roles, candidate, probes and stages."""
    keys = [source.repository.key for source in candidate.packages if source.repository is not None]
    digest = hashlib.sha256()
    for root in (model.file, model.file.parent / "roles", candidate.file, *candidate.folders, *keys, *wish.probes):
        files = (path for path in (root, *root.rglob("*")) if path.is_file())
        for file in sorted(path for path in files if "__pycache__" not in path.parts):  # of probes: pytest makes it
            digest.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
        digest.update(b"\0")
    digest.update(" ".join(wish.stages).encode())
    return digest.hexdigest()


def _is_rolled_back(trial: Trial) -> bool:
    """Whether the site is not as its upgrade has left it any more: maybe by an earlier run, which was broken off."""
    begun = (*trial.stages, *filter(None, [trial.under_way]))
    return any(result.stage is Stage.ROLLBACK for result in begun)


def _says_no(course: Course, wish: VerifyWish, stage: Stage) -> bool:
    trial = _weighed(course.trial, wish.known)
    return any(one.stage is stage and one.weight is Weight.NO for one in trial.findings)


def _judged(trial: Trial, known: Sequence[Known]) -> Trial:
    """The trial with known failures marked, and its verdict."""
    trial = _weighed(trial, known)
    return replace(trial, verdict=verdict_of(trial))


def _weighed(trial: Trial, known: Sequence[Known]) -> Trial:
    today = date.today()
    return replace(trial, stages=tuple(apply_known(known, result, today=today) for result in trial.stages))


def _remove_sites(host: Host, model: Model) -> None:
    for site in _sites(host, model):
        destroy(site, keep_data=False)


def _sites(host: Host, model: Model) -> tuple[Deployment, ...]:
    """The trial's sites that are there."""
    known = (known_to_host(host, trial_name(model.name, what)) for what in (TRIAL, FRESH))
    return tuple(site for site in known if site is not None)
