"""The story of `up`: from what a site is to what its file says."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from gridvisor.app.capacity import check_disk, check_site_memory, outstanding_mib
from gridvisor.app.image import build
from gridvisor.app.site.change import change_files
from gridvisor.app.site.clock import set_clocks
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.guest import entries_of, guest_of, identity_path, known_hosts_of, published_of, site_volumes
from gridvisor.app.site.order import needed_first
from gridvisor.app.site.plan import Act, Desired, Observed, Step, plan
from gridvisor.app.site.ready import Halted, ailment, wait_for_login, wait_until_ready
from gridvisor.app.site.record import Record, digests, note_ready, read_record, write_record
from gridvisor.app.site.restoring import require_whole
from gridvisor.core.deadline import Deadline
from gridvisor.core.errors import Refused, SystemSaidNo
from gridvisor.core.files import write_whole
from gridvisor.core.parallel import each
from gridvisor.identity.tarball import write_identity
from gridvisor.image.recipe import Recipe, extended, image_name, recipe_id
from gridvisor.image.store import Image
from gridvisor.kernel.pack import Pack
from gridvisor.monitor.protocol import State, VolumeUse
from gridvisor.site.machine import Machine
from gridvisor.storage.pool import NewVolume

BOOTING = {Act.CREATE, Act.RESTORE, Act.REPLACE}
_LOOKS = 32  # machines that are looked at, at once


@dataclass(frozen=True, slots=True)
class Recipes:
    """The recipe of each role's image, and the image where the store has one."""

    deployment: Deployment

    def of(self, machine: Machine) -> Recipe:
        """The recipe of the machine's image. The role's tree is not in it: that belongs to each machine's identity."""
        role, suite = machine.role, self.deployment.site.release
        return extended(
            image_name(suite, role.name),
            suite,
            packages=role.packages,
            steps=[path.read_text() for path in role.prepare],
            size_mib=role.size_mib,
            repository=self.deployment.repository(role.name),
        )

    def image(self, machine: Machine) -> Image | None:
        """The newest image of that recipe; None when it has to be built."""
        return self.deployment.host.images.made_by(recipe_id(self.of(machine)))


def plan_up(deployment: Deployment) -> tuple[Step, ...]:
    """What `up` would do now. Looks, and changes nothing but keys that are made on first use."""
    images = {machine.role.name: Recipes(deployment).image(machine) for machine in deployment.machines}

    def desired(machine: Machine) -> Desired | None:
        image = images[machine.role.name]
        if image is None:
            return None
        guest = guest_of(machine, deployment, image=image, pack=deployment.host.pack(), identity_id="")
        return Desired(guest, digests(entries_of(machine, deployment)))

    return plan(deployment.machines, observe(deployment), desired)


def observe(deployment: Deployment) -> dict[str, Observed]:
    """What is there of the site: by machine, of those it has no more too. Machines that were ready are asked again."""
    guests = deployment.guests()
    roots = {volume.name.removesuffix("-disk") for volume in deployment.pool.list() if volume.name.endswith("-disk")}
    names = guests.keys() | roots
    folders = deployment.folder / "machines"
    seen = {
        name: Observed(
            row=guests[name][0] if name in guests else None,
            guest=guests[name][1] if name in guests else None,
            record=read_record(folders / name),
            has_root=name in roots,
        )
        for name in names
    }
    ready = [machine for machine in deployment.machines if machine.name in seen and seen[machine.name].was_ready]
    ails = each(ready, lambda machine: ailment(machine, deployment), workers=_LOOKS)
    return seen | {machine.name: replace(seen[machine.name], ails=what) for machine, what in ails.items()}


def up(
    deployment: Deployment,
    show: Callable[[Sequence[Step]], None],
    *,
    timeout_s: float,
    only: Collection[str] | None = None,
) -> tuple[Step, ...]:
    """Plan, `show` the plan and carry it out; on return the services of all machines answer.

    With `only`, this is about the machines of these names alone. `timeout_s` is what they may take to boot and to
    answer, once their images are built, on a host of usual pace. Only as many boot side by side as the host can take,
    first those that others need.

    When one machine fails, the others are not waited for any more; all failures are raised together, and the machines
    stay for a look. May be killed at any moment and called again.
    """
    if deployment.host.make_ready():
        set_clocks(deployment.host)
    with deployment.held():
        require_whole(deployment)
        steps = tuple(step for step in plan_up(deployment) if only is None or step.name in only)
        show(steps)
        _refuse_what_does_not_fit(deployment, steps)
        images = _images(deployment, steps)
        pack = deployment.host.pack()
        pace = deployment.host.pace()
        deadline = Deadline.after(timeout_s * pace.times)
        with deployment.network.users():
            deployment.network.ensure()
            deployment.network.publish([one for machine in deployment.machines for one in published_of(machine)])
            work = _Work(deployment, images, pack, deadline, threading.Event())
            try:
                order = needed_first(deployment.machines).index
                mine = sorted((step for step in steps if step.machine), key=lambda step: order(step.name))
                each(mine, work.carry_out, workers=pace.at_once, halt=work.failed)
            except ExceptionGroup as group:
                raise causes(group) from None
            each([step for step in steps if not step.machine], work.remove, workers=_LOOKS)
    return steps


def causes(group: ExceptionGroup[Exception]) -> ExceptionGroup[Exception]:
    """Of the failures of several machines those that were not but left since another one had failed."""
    # The group itself is asked first, and its yes would count for all that is in it.
    return group.subgroup(lambda error: not isinstance(error, Halted | ExceptionGroup)) or group


@dataclass(frozen=True, slots=True)
class _Work:
    deployment: Deployment
    images: dict[str, Image]
    pack: Pack
    deadline: Deadline
    failed: threading.Event

    def carry_out(self, step: Step) -> None:
        """One machine, all the way until its services answer; nobody goes on waiting once one has failed."""
        try:
            self._carry_out(step)
        except Exception:
            self.failed.set()
            raise

    def _carry_out(self, step: Step) -> None:
        assert step.machine is not None
        if self.failed.is_set():
            raise Halted(f"'{step.name}' was not begun with.")
        if step.act in BOOTING:
            self._boot(step.machine)
        elif step.act is Act.CHANGE:
            self._change(step.machine)
        else:
            note_ready(self.deployment.folder_of(step.machine), None)
        with self.deployment.host.bus.step("services answer", where=step.name):
            again = step.act not in BOOTING
            wait_until_ready(step.machine, self.deployment, self.deadline, self.failed, again=again)
        note_ready(self.deployment.folder_of(step.machine), time.time())

    def remove(self, step: Step) -> None:
        """A machine that the site has no more: its domain and what it ran on; data stays until `destroy`."""
        with self.deployment.host.bus.step("remove", where=step.name):
            if row := self.deployment.rows().get(step.name):
                self.deployment.host.monitor.destroy(row.name)
            for suffix in ("disk", "swap"):
                self.deployment.pool.remove(f"{step.name}-{suffix}")

    def _boot(self, machine: Machine) -> None:
        deployment, bus = self.deployment, self.deployment.host.bus
        image = self.images[machine.role.name]
        with bus.step("boot", where=machine.name):
            if row := deployment.rows().get(machine.name):
                deployment.host.monitor.destroy(row.name)
            folder = deployment.folder_of(machine)
            entries = entries_of(machine, deployment)
            write_whole(folder / "known_hosts", known_hosts_of(machine, deployment))
            identity_id = write_identity(entries, identity_path(machine, deployment))
            self._volumes(machine, image)
            row = deployment.host.monitor.create(
                guest_of(machine, deployment, image=image, pack=self.pack, identity_id=identity_id)
            )
            write_record(folder, Record(row.since_s, digests(entries)))

    def _volumes(self, machine: Machine, image: Image) -> None:
        """Make the volumes that are missing; a root of another image makes way."""
        pool = self.deployment.pool
        found = {volume.name: volume for volume in pool.list()}
        missing = []
        for volume in site_volumes(machine):
            there = found.get(volume.name)
            if there is not None and volume.use is VolumeUse.ROOT and there.backing != image.path:
                pool.remove(volume.name)
                there = None
            if there is None and volume.use is VolumeUse.ROOT:
                missing.append(NewVolume(volume.name, image.path))
            elif there is None:
                label = volume.label if volume.use is VolumeUse.DATA else None
                missing.append(NewVolume(volume.name, size_bytes=volume.size_mib << 20, label=label))
        if missing:
            pool.make(missing)

    def _change(self, machine: Machine) -> None:
        deployment = self.deployment
        row = deployment.rows().get(machine.name)
        if row is None:  # it ran when this was planned; images may have been built since
            raise SystemSaidNo(f"The machine '{machine.name}' has ended.", hint=f"gridvisor up {deployment.site.site}")
        folder = deployment.folder_of(machine)
        entries = entries_of(machine, deployment)
        want = digests(entries)
        record = read_record(folder)
        have = record.files if record is not None and record.of(row) else {}
        with deployment.host.bus.step("change files", where=machine.name):
            write_identity(entries, identity_path(machine, deployment))  # for its next life
            wait_for_login(machine, deployment, self.deadline, self.failed)
            change_files(machine, deployment, entries, have=have, want=want)
            write_record(folder, Record(row.since_s, want))


def _images(deployment: Deployment, steps: Iterable[Step]) -> dict[str, Image]:
    """The image of every role that boots, brought to where volumes are; what is missing is built, as many at once as
    there are processors."""
    recipes = Recipes(deployment)
    by_role = {step.machine.role.name: step.machine for step in steps if step.machine and step.act in BOOTING}

    def image(role: str) -> Image:
        machine = by_role[role]
        found = recipes.image(machine) or build(deployment.host, recipes.of(machine))
        deployment.pool.bring(found.path)  # now: guests that boot beside it would wait longer than tools have patience
        return found

    return each(by_role, image, workers=os.cpu_count() or 1)


def _refuse_what_does_not_fit(deployment: Deployment, steps: Sequence[Step]) -> None:
    """Names, memory, disk and ports, before anything starts."""
    host = deployment.host
    has = host.room()
    booting = [step.machine for step in steps if step.machine and step.act in BOOTING]
    ending = {step.name for step in steps if step.act in BOOTING}
    rows = host.monitor.list()
    ours = deployment.rows()
    for machine in booting:
        name = deployment.domain_name(machine)
        if machine.name not in ours and any(row.name == name for row in rows):
            raise Refused(
                f"A domain '{name}' exists that is not of this site.", hint=f"gridvisor domain rename {name} NAME"
            )
    mine = {row.name for name, row in ours.items() if name in ending}
    check_site_memory(
        {machine.name: machine.memory_mib + host.kernel_mib for machine in booting},
        has=has,
        outstanding=outstanding_mib([row for row in rows if row.name not in mine], overhead_mib=has.overhead_mib),
        freed_mib=sum(row.held_mib + has.overhead_mib for row in rows if row.name in mine),
    )
    there = {volume.name for volume in deployment.pool.list()}
    new_bytes = sum(
        (volume.size_mib or machine.role.size_mib) << 20
        for machine in booting
        for volume in site_volumes(machine)
        if volume.name not in there
    )
    if not deployment.site.overcommit:
        check_disk(new_bytes, has=has, unless="'overcommit: true' in the site file")
    running = {row.name for row in rows if row.state is not State.CRASHED}
    for machine in booting:
        if deployment.domain_name(machine) not in running:
            for port in machine.publish:
                deployment.network.require_free(port)
