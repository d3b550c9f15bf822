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

from gridvisor.core.errors import GridvisorError, Refused, SystemSaidNo
from gridvisor.domain.model import OnEnd
from gridvisor.kernel.xen import XenPack
from gridvisor.monitor.last_words import last_words
from gridvisor.monitor.protocol import Attachment, ConsoleCommand, DomainRow, Guest, NoSuchDomain, State, VolumeUse
from gridvisor.monitor.record import guest_of, record_of
from gridvisor.monitor.xen.config import xl_config
from gridvisor.monitor.xen.dom0 import ASK_S, XL_S, XL_SAVE_S, run_script
from gridvisor.monitor.xen.info import LOOK, XenInfo, parse_info
from gridvisor.monitor.xen.listing import DOM0, XlRow, parse_list
from gridvisor.run.command import CommandFailed, Result
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

CONFIGS = "/etc/xen"
NOTES = "/var/lib/gridvisor/domains"
KERNELS = "/var/lib/gridvisor/kernels"
CONSOLES = "/var/log/xen/console"
SCRIPTS = "/etc/xen/scripts"
_DISK = Path(__file__).parent / "scripts" / "gridvisor-disk"
_DISK_SCRIPT = f"{_DISK.name}-{hashlib.sha256(_DISK.read_bytes()).hexdigest()[:8]}"
_CREATE_S, _PUT_S = 400.0, 600.0
_XL_CREATE_S = 180  # of one `xl`, well within those of the script that it is called in
_MARK = "=== gridvisor ==="
_LEFT = "left "  # before the note of a domain that nobody goes on creating
# A note that begins with "making" has a second line once its domain is whole. To add that needs no process of dom0: one
# more takes a tenth of a second where that is emulated.
MADE = "made"
# The list, when each domain was started, and the notes; all in one go, since reaching dom0 costs the most.
_LOOK = f"""\
within {XL_S} xl list -v
echo '{_MARK}'
within {XL_S} xenstore-ls -f /vm 2>/dev/null | sed -n 's#^/vm/\\([^/]*\\)/start_time = "\\(.*\\)"$#\\1 \\2#p'
echo '{_MARK}'
for note in "$1"/*.json; do
    [ -e "$note" ] || continue
    told='' made=''
    {{ IFS= read -r told && read -r made || :; }} <"$note"
    name=${{note##*/}}
    case $told$made in
        *{MADE}) ;;
        '{{"making"'*) ! flock -n "/run/lock/gridvisor-${{name%.json}}" true || printf '%s' '{_LEFT}' ;;
    esac
    printf '%s\\n' "$told"
done
"""
_FORGET = """\
name=$1 config=$2 note=$3 notes=$4
[ -e "$note" ] || exit 0
if there "$name"; then
    exit 0
fi
rm -f "$notes/$(uuid_in "$note").identity" "$config" "/etc/xen/auto/$name.cfg"
rm -f "$note"
"""
# By its name, since one that reboots meanwhile has another id; one that never got a name has only that.
_DESTROY = f"""\
name=$1 id=$2 identity=$3
if there "$name"; then
    within {XL_S} xl destroy "$name" || {{ status=$?; ! there "$name" || exit $status; }}
else
    within {XL_S} xl destroy "$id" 2>/dev/null || :
fi
detach "$identity"
shift 3
rm -f "$identity" "$@"
"""
_RENAME = f"""\
name=$6 new=$7 config=$8 note=$9
if [ -s "$1" ] && ! grep -q '^# Made by gridvisor' "$1"; then
    echo "$1 is somebody else's" >&2
    exit 1
fi
printf "%s" "$2" >"$1"
printf "%s" "$4" >"$3"
within {XL_S} xl rename "$name" "$new" || {{ status=$?; rm -f "$1" "$3"; exit $status; }}
if [ -L "$5/$name.cfg" ]; then
    ln -sf "../$new.cfg" "$5/$new.cfg"
    rm "$5/$name.cfg"
fi
rm -f "$config" "$note"
"""
_SAVE = f"""\
[ ! -e "$2" ] || {{ echo there; exit; }}
within {XL_SAVE_S} xl save "$1" "$2.part" >&2 || {{ status=$?; rm -f "$2.part"; exit $status; }}
mv "$2.part" "$2"
"""
# Nothing is left of a domain that could not be created: Xen removes it, we remove its files. The note tells that it is
# being made, until it is: a domain that was left half made when its maker was killed is ours, and makes way.
# The files that it needs are brought before; of those that are not there it tells the names, and does nothing else.
_CREATE = f"""\
config=$1 note=$3 name=$5 uuid=$6 needs=$7
notes=${{note%/*}} identity=${{note%/*}}/$uuid.identity missing=''
[ -d "$notes" ] || mkdir -p "$notes"
for file in $needs; do
    [ -e "$file" ] || missing="$missing $file"
done
[ -z "$missing" ] || {{ echo "$missing"; exit 0; }}
exec 9>"/run/lock/gridvisor-$name"
flock -w {_XL_CREATE_S} 9 || {{ echo "another command is creating \\"$name\\"" >&2; exit 1; }}
end() {{
    destroy_half "$1"
    detach "$notes/$1.identity"
    rm -f "$notes/$1.identity"
}}
# xl itself refuses a name that is taken. It is asked before only if there is something of ours to lose.
if [ -e "$note" ] || [ -e "$config" ]; then
    earlier='' told='' made=''
    if [ -e "$note" ]; then
        earlier=$(uuid_in "$note")
        {{ IFS= read -r told && read -r made || :; }} <"$note"
    fi
    case $told$made in
        *{MADE}) ;;
        '{{"making"'*) end "$earlier" ;;
    esac
    if there "$name"; then
        echo "Domain with name \\"$name\\" already exists" >&2
        exit 1
    fi
    if [ -s "$config" ] && ! grep -q '^# Made by gridvisor' "$config"; then
        echo "$config is somebody else's" >&2
        exit 1
    fi
    # What an earlier domain of that name was told went with it only if it was destroyed.
    [ -z "$earlier" ] || rm -f "$notes/$earlier.identity"
fi
fail() {{
    status=$?
    trap - EXIT
    end "$uuid"
    rm -f "$config" "$note"
    exit $status
}}
trap fail EXIT
printf '%s\\n' "$4" >"$note"
printf '%s' "$2" >"$config"
(umask 077; cat >"$identity")
# xenconsoled appends; what an earlier domain of that name said is kept beside.
log={CONSOLES}/guest-$name.log told=$4
[ ! -e "$log" ] || mv "$log" "$log.old"
shift 7
# Without the lock: xl leaves a process behind that lives as long as the domain, and the domain may be renamed.
within {_XL_CREATE_S} xl create -q "$@" >&2 9>&-
echo {MADE} >>"$note"
trap - EXIT
within {XL_S} xl list -v
echo '{_MARK}'
echo "$uuid $(xenstore-read "/vm/$uuid/start_time" || echo 0)"
echo '{_MARK}'
printf '%s\\n' "$told"
"""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A domain with its note, if it is ours; `left` is one that nobody goes on creating."""

    row: XlRow
    since_s: float
    note: dict[str, Any] | None
    left: bool = False

    @property
    def name(self) -> str:
        """The name that it has, or was to have."""
        return str(self.note["name"]) if self.left and self.note else self.row.name

    @property
    def state(self) -> State:
        """What `xl list` shows; half a domain is one that crashed."""
        return State.CRASHED if self.left else self.row.state


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

    def list(self) -> Sequence[DomainRow]:
        """See Monitor.list; with domains that are not ours, dom0 among them."""
        return [_row(seen) for seen in self._look()]

    def create(self, guest: Guest, *, paused: bool = False) -> DomainRow:
        """See Monitor.create. dom0 is looked at before only when it says no: a look takes it a second."""
        name = guest.domain.name
        try:
            return self._created(guest, paused=paused)
        except CommandFailed as error:
            if _TAKEN not in error.result.stderr:
                raise why_not(name, error.result) from error
        self._make_way(name)
        try:
            return self._created(guest, paused=paused)
        except CommandFailed as error:
            raise why_not(name, error.result) from error

    def _created(self, guest: Guest, *, paused: bool) -> DomainRow:
        name, id = guest.domain.name, str(uuid.uuid4())
        note = json.dumps({"making": True, "name": name, "uuid": id, "guest": record_of(guest)})
        files = (_config(name), self._configured(guest, id), _note(name), note, name, id, " ".join(self._needs()))
        identity = next((one.path.read_bytes() for one in guest.volumes if one.use is VolumeUse.IDENTITY), b"")
        words = ("-p", _config(name)) if paused else (_config(name),)

        def create() -> str:
            return self._run(_CREATE, *files, *words, stdin=identity, timeout_s=_CREATE_S).stdout

        said = create()
        if _MARK not in said:
            self._bring(said.split())
            said = create()
        for seen in _seen_in(said):
            if seen.name == name:
                return _row(seen)
        raise SystemSaidNo(f"The guest '{name}' ended as soon as it was created. It said last:\n{self._last(name)}")

    def guest(self, name: str) -> Guest:
        """See Monitor.guest."""
        return guest_of(self._ours(name)["guest"])

    def guests(self) -> Sequence[tuple[DomainRow, Guest]]:
        """See Monitor.guests."""
        return [(_row(seen), guest_of(seen.note["guest"])) for seen in self._look() if seen.note is not None]

    def destroy(self, name: str) -> None:
        """See Monitor.destroy. Its configuration goes too."""
        seen = self._find(name)
        if seen.note is None:
            raise _not_ours(name)
        identity, autostart = _identity(seen.note["uuid"]), f"{CONFIGS}/auto/{name}.cfg"
        self._run(_DESTROY, name, str(seen.row.id), identity, _config(name), _note(name), autostart)

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
        self._change("mem-set", name, f"{mib}m")

    def set_max_memory(self, name: str, mib: int) -> None:
        """Say how much memory the domain may have at most."""
        self._change("mem-max", name, f"{mib}m")

    def set_vcpus(self, name: str, number: int) -> None:
        """Give the guest that many of the processors that it was created with."""
        self._change("vcpu-set", name, str(number))

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
        if self._run(_SAVE, name, file, timeout_s=_PUT_S).stdout:
            raise Refused(f"There is a file '{file}' in dom0 already.", hint="another name, or remove it")

    def restore(self, file: str) -> None:
        """Let the domain that was saved in that file go on."""
        try:
            self._run(f'within {XL_SAVE_S} xl restore "$1" >&2', file, timeout_s=_PUT_S)
        except CommandFailed as error:
            for said, reason in _NOT_SAVED.items():
                if said in error.result.stderr:
                    raise Refused(f"'{file}' cannot be restored: {reason}.", hint="gridvisor domain save") from error
            raise why_not(file, error.result, "restored") from error

    def rename(self, name: str, new_name: str) -> None:
        """See Monitor.rename. The new name is in its configuration as well."""
        note = self._ours(name)
        if any(seen.row.name == new_name for seen in self._look()):
            raise Refused(f"A domain '{new_name}' exists already.", hint="gridvisor domain list")
        guest = guest_of(note["guest"])
        guest = replace(guest, domain=replace(guest.domain, name=new_name))
        config = self._configured(guest, note["uuid"])
        told = json.dumps({"name": new_name, "uuid": note["uuid"], "guest": record_of(guest)})
        try:
            self._run(
                _RENAME,
                *(_config(new_name), config, _note(new_name), told),
                *(f"{CONFIGS}/auto", name, new_name, _config(name), _note(name)),
            )
        except CommandFailed as error:
            raise why_not(name, error.result, "renamed") from error

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
        return _seen_in(self._run(_LOOK, NOTES).stdout)

    def _find(self, name: str) -> _Seen:
        for seen in self._look():
            if seen.name == name:
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
        if seen.state in (State.CRASHED, State.DYING, State.SHUTDOWN):
            raise Refused(f"'{name}' has ended: it is {seen.state}.", hint=f"gridvisor domain destroy {name}")
        return seen.state

    def _require_running(self, name: str) -> None:
        if self._require_live(name) is State.PAUSED:
            raise Refused(f"'{name}' is paused.", hint=f"gridvisor domain unpause {name}")

    def _make_way(self, name: str) -> None:
        """Refuse a name that is taken; a crashed domain of ours goes, unless it is to be preserved."""
        seen = next((seen for seen in self._look() if seen.name == name), None)
        if seen is None:
            return
        if seen.note is None:
            raise Refused(
                f"A domain '{name}' exists already, and gridvisor did not make it.",
                hint=f"take another name; in dom0: xl list {name}",
            )
        if seen.state not in (State.CRASHED, State.SHUTDOWN):
            raise Refused(f"A domain '{name}' exists already.", hint="gridvisor domain list")
        if not seen.left and guest_of(seen.note["guest"]).domain.on_crash is OnEnd.PRESERVE:
            raise Refused(
                f"The crashed domain '{name}' is preserved, as its configuration asks.",
                hint=f"gridvisor domain destroy {name}",
            )
        self.destroy(name)

    # -- dom0 --------------------------------------------------------------------------------------------------

    @property
    def _kernels(self) -> str:
        return f"{KERNELS}/{self._pack().id}"

    def _needs(self) -> dict[str, Path]:
        """What every guest needs in dom0, the kernel pack among it; a box has that as a disk, and is brought none."""
        pack, folder = self._pack(), self._kernels
        return {
            f"{folder}/vmlinux": pack.kernel,
            f"{folder}/initramfs": pack.initramfs,
            f"{folder}/modules.img": pack.modules,
            f"{SCRIPTS}/{_DISK_SCRIPT}": _DISK,
        }

    def _bring(self, missing: Sequence[str]) -> None:
        needs = self._needs()
        self._run('mkdir -p "$1"', self._kernels)
        for path in missing:
            self._target.put(needs[path], path, timeout_s=_PUT_S)
        if f"{SCRIPTS}/{_DISK_SCRIPT}" in missing:
            self._run('chmod 755 "$1"', f"{SCRIPTS}/{_DISK_SCRIPT}")

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

    def info(self) -> XenInfo:
        """What Xen says of the host, and of the memory that it has for new domains."""
        return parse_info(self._run(f"within {XL_S} {LOOK}").stdout)

    def _change(self, verb: str, name: str, value: str) -> None:
        self._require_live(name)
        try:
            self._xl(verb, name, value)
        except CommandFailed as error:
            raise why_not(name, error.result, f"given {value}") from error

    def _xl(self, verb: str, *words: str) -> None:
        self._run(f'within {XL_S} xl "$@"', verb, *words)

    def _run(self, source: str, *words: str, stdin: bytes | None = None, timeout_s: float = ASK_S) -> Result:
        return run_script(self._target, source, *words, stdin=stdin, timeout_s=timeout_s)

    def _last(self, name: str) -> str:
        said = self._run('cat "$1" 2>/dev/null || :', f"{CONSOLES}/guest-{name}.log").stdout
        return last_words(said)


def _seen_in(said: str) -> tuple[_Seen, ...]:
    """What `_LOOK` has found."""
    listed, started, noted = said.split(f"{_MARK}\n")
    times = dict(line.split() for line in started.splitlines() if len(line.split()) == 2)
    notes = {}
    for line in noted.splitlines():
        if note := _note_in(line.removeprefix(_LEFT)):
            notes[note["uuid"]] = (note, line.startswith(_LEFT))
    rows = parse_list(listed)
    return tuple(_Seen(row, float(times.get(row.uuid, 0.0)), *notes.get(row.uuid, (None, False))) for row in rows)


def _note_in(line: str) -> dict[str, Any] | None:
    """A note; None for what is none: a power cut may leave it empty, and its domain then counts as somebody else's."""
    try:
        note = json.loads(line)
    except ValueError:
        return None
    return note if isinstance(note, dict) and {"name", "uuid", "guest"} <= note.keys() else None


_NOT_SAVED = {
    "Can't open restore file": "there is no such file in dom0",
    "wrong magic number": "it is not a domain that was saved",
}
_TAKEN = "already exists"  # of "Domain with name ... already exists", by xl and by us
# What xl says, and what it means; the first that fits.
_REASONS = (
    (r'Domain with name "[^"]*" already exists', "its name is taken", "gridvisor domain list"),
    (r'another command is creating "[^"]*"', "its name is taken", "wait, and look: gridvisor domain list"),
    (r"\S+ is somebody else's", "a configuration file is in its way", "move that file in dom0, or take another name"),
    (r"segment kernel too large", "its memory is less than its kernel takes", "memory=128, or more"),
    (
        r"Out of memory|can't allocate low memory|Cannot allocate memory",
        "Xen has not enough free memory for it",
        "end other domains, or give it less memory; gridvisor domain list shows who has how much",
    ),
    (
        r"losetup: (\S+): failed to set up loop device: No such file|failed to stat: \S+: No such file or directory",
        "a disk is not there",
        "in dom0: lvs; vgchange --activate y",
    ),
    (r"Device \S+ is mounted in a guest domain", "a disk of it is used by another domain", "gridvisor domain list"),
    (
        r"Could not find bridge device (\S+)",
        "its bridge does not exist",
        "gridvisor up makes those of a site; in dom0: ip link show type bridge",
    ),
    (r"failed to open file '\S+': No such file", "its kernel is not there", "try again: it is brought to dom0 then"),
    (r"neither hap nor shadow paging available", "this host runs paravirtual guests only", 'type = "pv"'),
    (
        r"You are overcommmitting! You have \d+ physical CPUs",  # sic
        "the host has not so many processors",
        "gridvisor domain info",
    ),
    (r"however maxcpus is \d+", "it has at most those that it was created with", "create it again with vcpus=NUMBER"),
    (
        r"memory_dynamic_max must be less than or equal to memory_static_max",
        "it may not have so much",
        "gridvisor domain mem-max",
    ),
    (
        r"memory_static_max must be greater than or or equal to memory_dynamic_max",  # sic
        "it has more than that",
        "gridvisor domain mem-set",
    ),
    (r"No space left on device", "dom0 has no room for its files", "in dom0: df /etc /var/lib/gridvisor"),
)


def why_not(what: str, result: Result, done: str = "created") -> GridvisorError:
    """What to raise for what `xl create` says: a request that cannot be, or an `xl` that failed otherwise."""
    said = result.stderr + result.stdout
    for pattern, reason, hint in _REASONS:
        if match := re.search(pattern, said):
            return Refused(f"'{what}' cannot be {done}: {reason}. xl said: {match[0]}", hint=hint)
    return CommandFailed(result)


def _row(seen: _Seen) -> DomainRow:
    row, guest = seen.row, seen.note["guest"] if seen.note else {}
    return DomainRow(
        name=seen.name,
        id=row.id,
        memory_mib=row.memory_mib,
        vcpus=row.vcpus,
        state=seen.state,
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
