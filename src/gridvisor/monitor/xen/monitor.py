"""The Xen monitor: `xl` in dom0, wherever that is; what is true is asked of Xen itself.

A domain is ours when its note lies in dom0 and has its UUID: whoever makes another one of the same name has another
UUID. No other domain is ever touched.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gridvisor.core.errors import GridvisorError, Refused
from gridvisor.domain.model import OnEnd
from gridvisor.kernel.xen import XenPack
from gridvisor.monitor.protocol import Attachment, ConsoleCommand, DomainRow, Guest, NoSuchDomain, State, VolumeUse
from gridvisor.monitor.record import guest_of, record_of
from gridvisor.monitor.xen.config import xl_config
from gridvisor.monitor.xen.info import parse_info
from gridvisor.monitor.xen.listing import DOM0, XlRow, parse_list
from gridvisor.run.command import CommandFailed, Result, script
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

CONFIGS = "/etc/xen"
NOTES = "/var/lib/gridvisor/domains"
KERNELS = "/var/lib/gridvisor/kernels"
CONSOLES = "/var/log/xen/console"
SCRIPTS = "/etc/xen/scripts"
_DISK = Path(__file__).parent / "scripts" / "gridvisor-disk"
_DISK_SCRIPT = f"{_DISK.name}-{hashlib.sha256(_DISK.read_bytes()).hexdigest()[:8]}"
_ASK_S, _CREATE_S, _PUT_S = 60.0, 180.0, 600.0
_MARK = "=== gridvisor ==="
# The list, when each domain was started, and the notes; all in one go, since reaching dom0 costs the most.
_LOOK = f"""\
xl list -v
echo '{_MARK}'
for uuid in $(xenstore-list /vm 2>/dev/null); do
    echo "$uuid $(xenstore-read "/vm/$uuid/start_time" 2>/dev/null)"
done
echo '{_MARK}'
for note in "$1"/*.json; do
    [ ! -e "$note" ] || {{ cat "$note"; echo; }}
done
"""
# Of these files those that are not there; a box has its kernel pack as a disk, without having been brought it.
_MISSING = """\
mkdir -p "$1" "$2"
shift 2
for file; do
    [ -e "$file" ] || echo "$file"
done
"""
_FORGET = """\
name=$1 config=$2 note=$3 notes=$4
[ -e "$note" ] || exit 0
if xl domid "$name" >/dev/null 2>&1; then
    exit 0
fi
rm -f "$notes/$(sed -n 's/.*"uuid": "\\([0-9a-f-]*\\)".*/\\1/p' "$note").identity" "$config" "/etc/xen/auto/$name.cfg"
rm -f "$note"
"""
_RENAME = """\
printf "%s" "$2" >"$1"
printf "%s" "$4" >"$3"
shift 4
name=$1 new=$2 config=$3 note=$4 auto=$5
xl rename "$name" "$new"
if [ -L "$auto/$name.cfg" ]; then
    ln -sf "../$new.cfg" "$auto/$new.cfg"
    rm "$auto/$name.cfg"
fi
rm -f "$config" "$note"
"""
# Nothing is left of a domain that could not be created: Xen removes it, we remove its files.
_CREATE = """\
config=$1 note=$3 name=$5 identity=$6
exec 9>"/run/lock/gridvisor-$name"
flock 9
if xl domid "$name" >/dev/null 2>&1; then
    echo "Domain with name \\"$name\\" already exists" >&2
    exit 1
fi
if [ -s "$config" ] && ! grep -q '^# Made by gridvisor' "$config"; then
    echo "$config is somebody else's" >&2
    exit 1
fi
printf '%s' "$2" >"$config.new"
printf '%s' "$4" >"$note.new"
umask 077
# What an earlier domain of that name was told went with it only if it was destroyed.
[ ! -e "$note" ] || rm -f "NOTES/$(sed -n 's/.*"uuid": "\\([0-9a-f-]*\\)".*/\\1/p' "$note").identity"
cat >"$identity"
mv "$config.new" "$config"
mv "$note.new" "$note"
# xenconsoled appends; what an earlier domain of that name said is kept beside.
log=CONSOLES/guest-$name.log
[ ! -e "$log" ] || mv "$log" "$log.old"
shift 6
# Without the lock: xl leaves a process behind that lives as long as the domain, and the domain may be renamed.
xl create -q "$@" 9>&- || { status=$?; rm -f "$config" "$note" "$identity"; exit $status; }
""".replace("CONSOLES", CONSOLES).replace("NOTES", NOTES)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A domain with its note, if it is ours."""

    row: XlRow
    since_s: float
    note: dict[str, Any] | None


class XenMonitor:
    """Runs guests as domains of the Xen whose dom0 is `target`; see monitor.protocol.Monitor for the verbs.

    The kernel pack is brought there once, by its id; so is the identity of each domain, which goes with it. Of its
    other volumes the paths are those of dom0.
    """

    name = "xen"

    def __init__(
        self,
        target: Target,
        pack: Callable[[], XenPack],
        *,
        parameters: Sequence[str] = (),
        keys: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._target = target
        self._pack = pack
        self._parameters = parameters
        self._keys = keys
        self._delivered = False

    def list(self) -> Sequence[DomainRow]:
        """See Monitor.list; with domains that are not ours, dom0 among them."""
        return [_row(seen) for seen in self._look()]

    def create(self, guest: Guest, *, paused: bool = False) -> DomainRow:
        """See Monitor.create."""
        name = guest.domain.name
        self._make_way(name)
        self._deliver()
        id = str(uuid.uuid4())
        note = json.dumps({"name": name, "uuid": id, "guest": record_of(guest)})
        files = (_config(name), self._configured(guest, id), _note(name), note, name, _identity(id))
        identity = next((one.path.read_bytes() for one in guest.volumes if one.use is VolumeUse.IDENTITY), b"")
        words = ("-p", _config(name)) if paused else (_config(name),)
        try:
            self._target.run(script(_CREATE, *files, *words, stdin=identity), timeout_s=_CREATE_S)
        except CommandFailed as error:
            raise _why_not(name, error.result) from error
        return next(row for row in self.list() if row.name == name)

    def guest(self, name: str) -> Guest:
        """See Monitor.guest."""
        return guest_of(self._ours(name)["guest"])

    def destroy(self, name: str) -> None:
        """See Monitor.destroy. Its configuration goes too."""
        note = self._ours(name)
        self._run(
            'xl destroy "$1" || ! xl domid "$1" 2>/dev/null\nshift\nrm -f "$@"',
            *(name, _config(name), _note(name), _identity(note["uuid"]), f"{CONFIGS}/auto/{name}.cfg"),
        )

    def forget(self, name: str) -> None:
        """See Monitor.forget. Until then plain `xl create` can start it again."""
        self._run(_FORGET, name, _config(name), _note(name), NOTES)

    def shutdown(self, name: str) -> None:
        """See Monitor.shutdown."""
        self._require_running(name)
        self._xl("shutdown", name)

    def reboot(self, name: str) -> None:
        """See Monitor.reboot."""
        self._require_running(name)
        self._xl("reboot", name)

    def pause(self, name: str) -> None:
        """See Monitor.pause. Xen counts pauses, and wants as many unpauses: it is paused once only."""
        if self._require_live(name) is not State.PAUSED:
            self._xl("pause", name)

    def unpause(self, name: str) -> None:
        """See Monitor.unpause."""
        if self._require_live(name) is State.PAUSED:
            self._xl("unpause", name)

    def set_memory(self, name: str, mib: int) -> None:
        """Ask the guest to give back memory, or to take some of what it may have at most."""
        self._require_live(name)
        self._run('xl mem-set "$1" "$2"', name, f"{mib}m")

    def set_max_memory(self, name: str, mib: int) -> None:
        """Say how much memory the domain may have at most."""
        self._require_live(name)
        self._run('xl mem-max "$1" "$2"', name, f"{mib}m")

    def set_vcpus(self, name: str, number: int) -> None:
        """Give the guest that many of the processors that it was created with."""
        self._require_live(name)
        self._run('xl vcpu-set "$1" "$2"', name, str(number))

    def autostart(self, name: str, *, on: bool) -> None:
        """Say whether dom0 creates the domain again when it boots, as xendomains(8) does with what is in its folder.

        It is on the disk when this returns: a power cut is what it is for.
        """
        self._ours(name)
        words = (f"{CONFIGS}/auto", f"../{name}.cfg", "yes" if on else "")
        self._run('mkdir -p "$1"; rm -f "$1/${2#../}"; [ -z "$3" ] || ln -s "$2" "$1/"; sync', *words)

    def save(self, name: str, file: str) -> None:
        """Write the domain with its memory to a new file of dom0, and end it. Its note stays, for `restore`.

        Raises Refused when the file is there.
        """
        self._require_running(name)
        if self._run('[ ! -e "$1" ] || echo there', file).stdout:
            raise Refused(f"There is a file '{file}' in dom0 already.", hint="another name, or remove it")
        self._run('xl save "$1" "$2.part" >&2 && mv "$2.part" "$2"', name, file, timeout_s=_PUT_S)

    def restore(self, file: str) -> None:
        """Let the domain that was saved in that file go on."""
        self._run('xl restore "$1" >&2', file, timeout_s=_PUT_S)

    def rename(self, name: str, new_name: str) -> None:
        """See Monitor.rename. The new name is in its configuration as well."""
        note = self._ours(name)
        if any(seen.row.name == new_name for seen in self._look()):
            raise Refused(f"A domain '{new_name}' exists already.", hint="gridvisor domain list")
        guest = guest_of(note["guest"])
        guest = replace(guest, domain=replace(guest.domain, name=new_name))
        config = self._configured(guest, note["uuid"])
        told = json.dumps({"name": new_name, "uuid": note["uuid"], "guest": record_of(guest)})
        self._run(
            _RENAME,
            *(_config(new_name), config, _note(new_name), told),
            *(name, new_name, _config(name), _note(name), f"{CONFIGS}/auto"),
        )

    def console(self, name: str) -> ConsoleCommand:
        """See Monitor.console."""
        self._find(name)
        words = ("xl", "console", name)
        there = self._target.terminal(words) if isinstance(self._target, Ssh) else words
        return ConsoleCommand(there, f"{CONSOLES}/guest-{name}.log")

    def console_log(self, name: str) -> bytes:
        """See Monitor.console_log."""
        self._find(name)
        said = self._run('cat "$1" 2>/dev/null || :', f"{CONSOLES}/guest-{name}.log").stdout
        return said.encode()

    # -- reading what is there ---------------------------------------------------------------------------------

    def _look(self) -> tuple[_Seen, ...]:
        listed, started, noted = self._run(_LOOK, NOTES).stdout.split(f"{_MARK}\n")
        times = dict(line.split() for line in started.splitlines() if len(line.split()) == 2)
        notes = {note["uuid"]: note for line in noted.splitlines() if line and (note := json.loads(line))}
        rows = parse_list(listed)
        return tuple(_Seen(row, float(times.get(row.uuid, 0.0)), notes.get(row.uuid)) for row in rows)

    def _find(self, name: str) -> _Seen:
        for seen in self._look():
            if seen.row.name == name:
                return seen
        raise NoSuchDomain(name)

    def _ours(self, name: str) -> dict[str, Any]:
        note = self._find(name).note
        if note is None:
            raise _not_ours(name)
        return note

    def _require_live(self, name: str) -> State:
        seen = self._find(name)
        if seen.note is None:
            raise _not_ours(name)
        if seen.row.state in (State.CRASHED, State.DYING, State.SHUTDOWN):
            raise Refused(f"'{name}' has ended: it is {seen.row.state}.", hint=f"gridvisor domain destroy {name}")
        return seen.row.state

    def _require_running(self, name: str) -> None:
        if self._require_live(name) is State.PAUSED:
            raise Refused(f"'{name}' is paused.", hint=f"gridvisor domain unpause {name}")

    def _make_way(self, name: str) -> None:
        """Refuse a name that is taken; a crashed domain of ours goes, unless it is to be preserved."""
        seen = next((seen for seen in self._look() if seen.row.name == name), None)
        if seen is None:
            return
        if seen.note is None or seen.row.state not in (State.CRASHED, State.SHUTDOWN):
            raise Refused(f"A domain '{name}' exists already.", hint="gridvisor domain list")
        if guest_of(seen.note["guest"]).domain.on_crash is OnEnd.PRESERVE:
            raise Refused(
                f"The crashed domain '{name}' is preserved, as its configuration asks.",
                hint=f"gridvisor domain destroy {name}",
            )
        self.destroy(name)

    # -- dom0 --------------------------------------------------------------------------------------------------

    @property
    def _kernels(self) -> str:
        return f"{KERNELS}/{self._pack().id}"

    def _deliver(self) -> None:
        """See that the kernel pack is in dom0, and what our guests' disks need."""
        if self._delivered:
            return
        pack, folder = self._pack(), self._kernels
        wanted = {
            f"{folder}/vmlinux": pack.kernel,
            f"{folder}/initramfs": pack.initramfs,
            f"{folder}/modules.img": pack.modules,
            f"{SCRIPTS}/{_DISK_SCRIPT}": _DISK,
        }
        missing = self._run(_MISSING, folder, NOTES, *wanted).stdout.splitlines()
        for path in missing:
            self._target.put(wanted[path], path, timeout_s=_PUT_S)
        if f"{SCRIPTS}/{_DISK_SCRIPT}" in missing:
            self._run('chmod 755 "$1"', f"{SCRIPTS}/{_DISK_SCRIPT}")
        self._delivered = True

    def _configured(self, guest: Guest, id: str) -> str:
        """The domain's file for xl, with paths as they are in dom0."""

        def placed(volume: Attachment) -> Attachment:
            if volume.use is VolumeUse.IDENTITY:
                return replace(volume, path=Path(_identity(id)))
            if volume.use is VolumeUse.MODULES:
                return replace(volume, path=Path(f"{self._kernels}/modules.img"))
            return volume

        guest = replace(guest, volumes=tuple(placed(volume) for volume in guest.volumes))
        files = {"kernel": f"{self._kernels}/vmlinux", "ramdisk": f"{self._kernels}/initramfs"}
        return xl_config(guest, uuid=id, script=_DISK_SCRIPT, parameters=self._parameters, keys=self._keys, **files)

    def free_mib(self) -> int:
        """The memory that Xen has for new domains."""
        return parse_info(self._run("xl info").stdout)

    def _xl(self, verb: str, name: str) -> None:
        self._run('xl "$1" "$2"', verb, name)

    def _run(self, source: str, *words: str, timeout_s: float = _ASK_S) -> Result:
        return self._target.run(script(source, *words), timeout_s=timeout_s)


# What xl says, and what it means; the first that fits.
_REASONS = (
    (r'Domain with name "[^"]*" already exists', "its name is taken", "gridvisor domain list"),
    (r"\S+ is somebody else's", "a configuration file is in its way", "move that file in dom0, or take another name"),
    (r"Out of memory|can't allocate low memory", "Xen has not enough free memory for it", "gridvisor domain list"),
    (r"losetup: (\S+): failed to set up loop device: No such file", "a disk is not there", None),
    (r"Could not find bridge device (\S+)", "its bridge does not exist", "ip link show type bridge, in dom0"),
)


def _why_not(name: str, result: Result) -> GridvisorError:
    """What to raise for what `xl create` says: a request that cannot be, or an `xl` that failed otherwise."""
    said = result.stderr + result.stdout
    for pattern, reason, hint in _REASONS:
        if match := re.search(pattern, said):
            return Refused(f"'{name}' cannot be created: {reason}. xl said: {match[0]}", hint=hint)
    return CommandFailed(result)


def _row(seen: _Seen) -> DomainRow:
    row, guest = seen.row, seen.note["guest"] if seen.note else {}
    return DomainRow(
        name=row.name,
        id=row.id,
        memory_mib=row.memory_mib,
        vcpus=row.vcpus,
        state=row.state,
        cpu_s=row.cpu_s,
        since_s=seen.since_s,
        held_mib=row.memory_mib,
        namespace=guest.get("namespace"),
        ours=seen.note is not None,
    )


def _not_ours(name: str) -> Refused:
    what = "dom0 itself" if name == DOM0 else "not a domain of gridvisor's"
    return Refused(f"'{name}' is {what}, and is not touched.", hint=f"in dom0: xl help; xl list {name}")


def _config(name: str) -> str:
    return f"{CONFIGS}/{name}.cfg"


def _identity(id: str) -> str:
    return f"{NOTES}/{id}.identity"


def _note(name: str) -> str:
    return f"{NOTES}/{name}.json"
