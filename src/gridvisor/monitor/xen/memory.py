"""What the guests of a Xen host have in memory, kept in its dom0 beside snapshots of their disks, and brought back.

`xl save -p` has a guest stand still at one moment, writes its memory to a file, and leaves it paused, so that its disks
can be kept as they were at that moment. Kept with it is what its domain has from us: note, configuration, identity.
All of it lies in a folder of dom0 for each snapshot. Scripts there do it, which a lost connection does not kill, and
which let guests go on however they end.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from gridvisor.core.errors import Refused, SystemSaidNo, ToolOutput
from gridvisor.core.units import counted
from gridvisor.monitor.protocol import DomainRow
from gridvisor.monitor.xen.dom0 import HEAD, XL_S, XL_SAVE_S, run_script, what_failed
from gridvisor.monitor.xen.monitor import CONFIGS, CONSOLES, MADE, NOTES, why_not
from gridvisor.run.command import Command, CommandFailed, Result, Unreachable, script
from gridvisor.run.piped import next_line, piped
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target
from gridvisor.storage.pool import checked_name

SNAPSHOTS = "/var/lib/gridvisor/snapshots"
LOCKS = "/run/lock"
_RESERVE_MIB = 64  # what is left of dom0's disk for everything else
_SSH_FAILED = 255
_PATIENCE_S = 60.0  # more than the script itself may take
_MARK = "=== gridvisor ==="
# Whoever was killed here goes on over there for a while: the next command waits until that has ended.
_ALONE = f"""\
exec 9>"$lock"
flock -w {XL_SAVE_S} 9 || {{ echo "another command keeps or brings back the memory of guests: $lock" >&2; exit 1; }}
"""
_ROOM = """\
mkdir -p "$1"
df -P -k "$1"
"""
# All at once: each guest stands still from the begin of its own `xl save` on, and waits for the slowest of them.
# An xl that is killed leaves its guest suspended, and only newer ones than 4.17 can have it go on.
_HOLD = f"""\
folder=$1 longest=$2 lock=$3 configs=$4 notes=$5
shift 5
names=$*
{_ALONE}
go_on() {{
    wait
    for name in $names; do
        within {XL_S} xl unpause "$name" 2>/dev/null || :
    done
}}
save() {{
    within {XL_SAVE_S} xl save -p "$1" "$folder/$1.save" >&2 9>&- || {{
        status=$?
        case $status in 124 | 137) within {XL_S} xl resume "$1" >&2 || : ;; esac
        return $status
    }}
}}
umask 077
rm -rf "$folder"
mkdir -p "$folder"
for name in $names; do
    cp "$notes/$name.json" "$configs/$name.cfg" "$folder/"
    cp "$notes/$(uuid_in "$notes/$name.json").identity" "$folder/$name.identity"
done
trap go_on EXIT
trap 'exit 1' INT TERM
saving='' failed=0
for name in $names; do
    save "$name" &
    saving="$saving $!"
done
for one in $saving; do
    wait "$one" || failed=$?
done
[ "$failed" = 0 ] || exit "$failed"
echo held
late=0
timeout "$longest" cat >/dev/null || late=$?
trap - EXIT
trap '' INT TERM
go_on
sync
if [ "$late" = 0 ]; then echo 'in time'; else echo "too late, after $longest s"; fi
"""
# One after the other, since xl itself has it so; none goes on before all are there. The note tells of each that it is
# being made, as in `create`. Not as a condition of the shell: in one, it would not end at what fails.
_BRING_BACK = f"""\
folder=$1 lock=$2 configs=$3 notes=$4 locks=$5 consoles=$6
shift 6
names=$*
{_ALONE}
go_on() {{
    wait
    for name in $names; do
        [ ! -e "$folder/$name.back" ] || within {XL_S} xl unpause "$name" || :
        rm -f "$folder/$name.back"
    done
}}
bring_back() {{
    name=$1 config=$configs/$1.cfg note=$notes/$1.json
    exec 8>"$locks/gridvisor-$name"
    flock -w {XL_S} 8 || {{ echo "another command is creating \\"$name\\""; exit 1; }}
    if there "$name"; then
        echo "Domain with name \\"$name\\" already exists"
        exit 1
    fi
    if [ -s "$config" ] && ! grep -q '^# Made by gridvisor' "$config"; then
        echo "$config is somebody else's"
        exit 1
    fi
    [ -e "$folder/$name.save" ] || {{ echo "its memory is not in dom0 any more"; exit 1; }}
    uuid=$(uuid_in "$folder/$name.json")
    identity=$notes/$uuid.identity
    fail() {{
        status=$?
        trap - EXIT
        destroy_half "$uuid"
        detach "$identity"
        rm -f "$config" "$config.new" "$note" "$identity"
        exit $status
    }}
    trap fail EXIT
    [ ! -e "$note" ] || rm -f "$notes/$(uuid_in "$note").identity"
    IFS= read -r told <"$folder/$name.json" || :
    told=${{told#'{{"making": true, '}}
    printf '{{"making": true, %s\\n' "${{told#'{{'}}" >"$note"
    cp "$folder/$name.cfg" "$config.new"
    mv "$config.new" "$config"
    (umask 077; cat "$folder/$name.identity" >"$identity")
    console=$consoles/guest-$name.log
    [ ! -e "$console" ] || mv "$console" "$console.old"
    within {XL_SAVE_S} xl restore -p "$folder/$name.save" 8>&- 9>&-
    : >"$folder/$name.back"
    echo {MADE} >>"$note"
    trap - EXIT
}}
[ -d "$folder" ] || {{ echo "there is no $folder in dom0 any more" >&2; exit 1; }}
mkdir -p "$notes"
rm -f "$folder"/*.back
trap go_on EXIT
trap 'exit 1' INT TERM
for name in $names; do
    bring_back "$name" >"$folder/$name.said" 2>&1 &
    if ! wait $!; then
        echo "{_MARK} $name"
        cat "$folder/$name.said"
    fi
done
"""
_CLEAR = f"""\
folder=$1 lock=$2
shift 2
{_ALONE}
[ -d "$folder" ] || exit 0
for one in "$folder"/*; do
    for kept; do
        [ "$one" != "$folder/$kept" ] || continue 2
    done
    rm -rf "$one"
done
rmdir "$folder" 2>/dev/null || :
"""


class XenMemory:
    """The memory of guests on the Xen whose dom0 is `dom0`, kept for snapshots of `group`; see monitor.protocol.Memory.

    `root` is where dom0 keeps it, `configs`, `notes`, `locks` and `consoles` are those of XenMonitor.
    """

    def __init__(
        self,
        dom0: Target,
        group: str,
        *,
        root: str = SNAPSHOTS,
        configs: str = CONFIGS,
        notes: str = NOTES,
        locks: str = LOCKS,
        consoles: str = CONSOLES,
    ) -> None:
        self._dom0 = dom0
        self._root = root
        self._folder = f"{root}/{checked_name(group)}"
        self._lock = f"{locks}/gridvisor.snapshots.{group}"
        self._configs, self._notes, self._locks, self._consoles = configs, notes, locks, consoles

    def require_room(self, domains: Sequence[DomainRow]) -> int:
        """See Memory.require_room. A file has a page for each of the guest's, and some bytes about it."""
        if not domains:
            return 0
        sizes_mib = {row.name: row.memory_mib + row.memory_mib // 64 + 1 for row in domains}
        needed_mib, free_mib = sum(sizes_mib.values()), self._free_mib()
        if needed_mib + _RESERVE_MIB > free_mib:
            each = ", ".join(f"{name} {mib}" for name, mib in sizes_mib.items())
            raise Refused(
                f"Not enough room for the memory of {counted(len(sizes_mib), 'guest')}: {needed_mib} MiB in all"
                f" ({each}), and '{self._root}' of '{self._dom0.name}' has {free_mib} MiB free, of which"
                f" {_RESERVE_MIB} are kept.",
                hint="gridvisor snapshot rm an older one; of a machine that is down, only the disks are kept",
            )
        return needed_mib << 20

    @contextmanager
    def hold(self, snapshot: str, domains: Sequence[str], *, longest_s: float) -> Iterator[None]:
        """See Memory.hold."""
        if not domains:
            yield
            return
        words = (self._folder_of(snapshot), str(math.ceil(longest_s)), self._lock, self._configs, self._notes)
        command = script(f"{HEAD}{_HOLD}", *words, *domains)
        there = self._dom0.local(command) if isinstance(self._dom0, Ssh) else command
        with tempfile.TemporaryFile() as stderr, _started(there.argv, stderr.fileno()) as process:

            def require(wanted: str) -> None:
                if (said := next_line(process, 2 * XL_SAVE_S + _PATIENCE_S)) == wanted:
                    return
                if said:
                    raise SystemSaidNo(f"Guests went on before all was kept: {said}.")
                if process.poll() is None and not _ended(process):
                    raise ToolOutput(f"'{self._dom0.name}' does not say whether guests stand still.")
                stderr.seek(0)
                told = stderr.read().decode(errors="replace")
                if process.returncode == _SSH_FAILED:
                    raise Unreachable(f"'{self._dom0.name}' was lost while guests stood still: {told.strip()}")
                raise what_failed(Result(command, process.returncode or 1, "", told, 0.0, self._dom0.name))

            require("held")
            yield
            assert process.stdin is not None
            process.stdin.close()
            require("in time")

    def bring_back(self, snapshot: str, domains: Sequence[str]) -> Mapping[str, str]:
        """See Memory.bring_back."""
        if not domains:
            return {}
        words = (self._folder_of(snapshot), self._lock, self._configs, self._notes, self._locks, self._consoles)
        timeout_s = XL_SAVE_S + _PATIENCE_S + len(domains) * (XL_SAVE_S + _PATIENCE_S)
        said = run_script(self._dom0, _BRING_BACK, *words, *domains, timeout_s=timeout_s).stdout
        return failures(said, self._dom0.name)

    def clear(self, snapshots: Collection[str]) -> None:
        """See Memory.clear."""
        kept = tuple(checked_name(one) for one in snapshots)
        run_script(self._dom0, _CLEAR, self._folder, self._lock, *kept, timeout_s=XL_SAVE_S + 2 * _PATIENCE_S)

    def _folder_of(self, snapshot: str) -> str:
        return f"{self._folder}/{checked_name(snapshot)}"

    def _free_mib(self) -> int:
        said = run_script(self._dom0, _ROOM, self._root).stdout
        try:
            return int(said.splitlines()[-1].split()[3]) >> 10
        except (IndexError, ValueError) as error:
            raise ToolOutput(f"What df says cannot be read: {said[:400]}") from error


def failures(said: str, where: str) -> dict[str, str]:
    """Why guests did not come back, by their names: in `said` there is a line with each one's name, and then what xl
    printed."""
    _, *parts = f"\n{said}".split(f"\n{_MARK} ")
    failed = {}
    for part in parts:
        name, _, told = part.partition("\n")
        failed[name] = _reason(name, told if told.endswith("\n") else f"{told}\n", where)
    return failed


def _reason(name: str, told: str, where: str) -> str:
    """In one line: what is known to be meant by what xl said, or the last that it said."""
    result = Result(Command(("xl", "restore")), 1, "", told, 0.0, where)
    if isinstance(known := why_not(name, result, "restored"), Refused):
        return known.message
    error = what_failed(result)
    if not isinstance(error, CommandFailed):
        return " ".join(error.message.split())
    said = [line.strip() for line in error.result.stderr.splitlines() if line.strip()]
    return said[-1] if said else "xl did not say why"


@contextmanager
def _started(argv: Sequence[str], stderr: int) -> Iterator[subprocess.Popen[str]]:
    """The process, with a pipe to it and from it. It is not killed in the end: it ends when nothing comes any more,
    and it is waited for, since guests go on then."""
    with piped(argv, stderr=stderr) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()


def _ended(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(timeout=XL_S)
    except subprocess.TimeoutExpired:
        return False
    return True
