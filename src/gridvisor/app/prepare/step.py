"""From what a machine is to what is to be done to it. Each step may be done again, and is not when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from gridvisor.app.prepare.disk import Device, Named, looks_empty, what_is_on
from gridvisor.app.prepare.facts import Facts
from gridvisor.app.prepare.menu import default_entry, dom0_memory
from gridvisor.app.xen_host import GROUP
from gridvisor.app.xen_needs import MODULES, TOOLS, XEN
from gridvisor.core.errors import Refused
from gridvisor.run.command import Command, script

DOM0_MIB = 2048
_LEAST_DOM0_MIB, _LEAST_GUESTS_MIB = 512, 256
_OWN_FILE = "/etc/default/grub.d/gridvisor.cfg"
_XL_CONF = "/etc/xen/xl.conf"
_APT_S, _LVM_S, _GRUB_S = 3600.0, 300.0, 900.0
# A step that was left behind by a command that lost its connection is waited for.
_ALONE = ("flock", "--verbose", "--close", "--wait", "900", "/run/gridvisor-prepare.lock")

# What a killed run, or a power cut, left half installed is finished first: apt refuses to begin before that.
_INSTALL = """\
export DEBIAN_FRONTEND=noninteractive
dpkg --force-confdef --force-confold --configure -a >&2
apt-get -qq update >&2
exec apt-get -q -y --fix-broken --no-install-recommends -o DPkg::Lock::Timeout=600 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@" >&2
"""
# A line that is there is kept as a remark. As a whole or not at all: xl reads it at each command.
_AUTOBALLOON_OFF = """\
file=$1
new="$file.gridvisor"
trap 'rm -f "$new"' EXIT
said='[[:space:]]*\\(autoballoon[[:space:]]*=.*\\)'
if grep -q "^$said" "$file"; then
    sed "s/^$said/# gridvisor host prepare; was: \\\\1\\\\nautoballoon=\\"off\\"/" "$file"
else
    cat "$file"
    printf '\\n# gridvisor host prepare: dom0 has a fixed memory.\\nautoballoon="off"\\n'
fi >"$new"
chmod --reference="$file" "$new"
sync "$new"
mv -f "$new" "$file"
"""
# Without --yes, LVM itself does not take a disk with a signature either.
_JOIN = """\
group=$1 disk=$2
is_in=$(pvs --noheadings -o vg_name "$disk" 2>/dev/null | tr -d ' ' || :)
[ "$is_in" != "$group" ] || exit 0
if ! pvs "$disk" >/dev/null 2>&1 && [ -n "$(wipefs "$disk")" ]; then
    echo "'$disk' is not empty any more:" >&2
    wipefs "$disk" >&2
    exit 1
fi
if vgs "$group" >/dev/null 2>&1; then
    exec vgextend -q "$group" "$disk" >&2
fi
exec vgcreate -q "$group" "$disk" >&2
"""
_POOL = """\
group=$1 disk=$2 name=$3
if lvs "$group/$name" >/dev/null 2>&1; then exit 0; fi
exec lvcreate -q --type thin-pool -l 90%PVS --name "$name" "$group" "$disk" >&2
"""
_MENU = """\
file=$1
mkdir -p "${file%/*}"
cat >"$file.new"
sync "$file.new"
mv -f "$file.new" "$file"
update-grub >&2
sync -f /boot/grub/grub.cfg
"""
_SETTINGS = """\
# By `gridvisor host prepare`, which writes this file anew: Xen is started by default, and dom0 has a fixed memory.
# Then: update-grub.
XEN_OVERRIDE_GRUB_DEFAULT=1
GRUB_CMDLINE_XEN_DEFAULT="$GRUB_CMDLINE_XEN_DEFAULT dom0_mem={memory}"
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for beside the facts; without a memory of dom0, one that it has is kept."""

    dom0_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what it is about, what it does, and the command that does it."""

    what: str
    does: str
    command: Command
    timeout_s: float


def steps(facts: Facts, wish: Wish) -> tuple[Step, ...]:
    """What is to be done to the machine, first things first; nothing when it is as it should be.

    Raises Refused, with all the reasons, for a machine that it cannot be done to.
    """
    reasons = [*_refusals(facts, wish)]
    if reasons:
        raise Refused(f"'{facts.where}' is left as it is:\n" + "\n".join(f"  - {one}" for one in reasons))
    return tuple(_steps(facts, wish))


def reboot_why(facts: Facts, wish: Wish) -> str | None:
    """What the machine has to be booted for once all steps are done; None when it runs as it would after a boot."""
    wanted = _memory_words(facts, wish) if _menu_is_needed(facts, wish) else _memory_of_menu(facts)
    runs = dom0_memory(facts.xen_words)
    if not facts.is_dom0:
        return "into Xen"
    if wanted is not None and wanted != runs:
        return f"for dom0's memory to be {wanted}; it is {runs or 'all that guests leave'}"
    return None


def _steps(facts: Facts, wish: Wish) -> Iterator[Step]:
    missing = [package for tool, (package, _) in TOOLS.items() if tool not in facts.tools]
    if XEN not in missing and not (facts.is_dom0 or facts.has_xen):
        missing.insert(0, XEN)
    if missing or facts.is_unfinished:
        does = f"install {', '.join(missing)}" if missing else "finish what was begun to be installed"
        yield _step("packages", does, _INSTALL, *missing, timeout_s=_APT_S)
    changes_menu = _menu_is_needed(facts, wish)
    # xl.conf(5): 'auto' is off where dom0 has a fixed memory.
    if facts.autoballoon not in ("off", "0") and (changes_menu or facts.autoballoon != "auto"):
        yield _step("autoballoon", f"off, in {_XL_CONF}", _AUTOBALLOON_OFF, _XL_CONF, timeout_s=_LVM_S)
    for named in _each_once(facts.named):
        yield from _volumes(facts, named)
    if changes_menu:
        memory = _memory_words(facts, wish)
        yield Step(
            "boot menu",
            f"Xen by default, with dom0_mem={memory}, in {_OWN_FILE}",
            _alone(script(_MENU, _OWN_FILE, stdin=_SETTINGS.format(memory=memory).encode())),
            _GRUB_S,
        )


def _volumes(facts: Facts, named: Named) -> Iterator[Step]:
    disk = _device(facts, named.path)
    mine = next((one for one in facts.volumes if (one.path, one.group) == (named.path, GROUP)), None)
    if mine is None:
        yield _step(f"volume group {GROUP}", f"takes all of {disk}", _JOIN, GROUP, disk.path, timeout_s=_LVM_S)
    if mine is None or mine.is_empty:
        wanted = f"thin-{PurePosixPath(disk.path).name}"
        tries = (wanted, *(f"{wanted}-{number}" for number in range(2, len(facts.volume_names) + 3)))
        name = next(one for one in tries if one not in facts.volume_names)
        does = f"{GROUP}/{name}, nine tenths of {disk.path}"
        yield _step("thin pool", does, _POOL, GROUP, disk.path, name, timeout_s=_LVM_S)


def _step(what: str, does: str, source: str, *words: str, timeout_s: float) -> Step:
    return Step(what, does, _alone(script(source, *words)), timeout_s)


def _alone(command: Command) -> Command:
    # Debian's root has no sbin folders in a command that ssh runs.
    path = 'PATH=$PATH:/usr/sbin:/sbin; exec "$@"'
    return Command(("/bin/sh", "-c", path, "sh", *_ALONE, *command.argv), stdin=command.stdin)


def _refusals(facts: Facts, wish: Wish) -> Iterator[str]:
    if not facts.is_root:
        yield "Who logs in there is not root, to whom all of this belongs."
    if facts.os_id != "debian":
        yield f"It is no Debian but '{facts.os_name or facts.os_id}'; gridvisor host check says what it needs."
        return
    if facts.architecture != "amd64":
        yield f"Its architecture is '{facts.architecture}'; guests are of amd64."
    if missing := [module for module in MODULES if module not in facts.modules]:
        yield f"Its kernel {facts.kernel} has no {', '.join(missing)}; boot that of Debian's linux-image-amd64."
    if _menu_is_needed(facts, wish):
        if facts.loader is None:
            yield "It does not boot by GRUB: neither grub-pc nor grub-efi-amd64 is installed."
        if facts.is_secure_boot:
            yield "Secure Boot is on, and GRUB does not start Xen then; switch it off in the machine's firmware."
        dom0_mib = wish.dom0_mib or DOM0_MIB
        if dom0_mib < _LEAST_DOM0_MIB:
            yield f"dom0 does not do with {dom0_mib} MiB; give it {_LEAST_DOM0_MIB} MiB at least, by --dom0-memory."
        elif facts.memory_mib - dom0_mib < _LEAST_GUESTS_MIB:
            left = f"It has {facts.memory_mib} MiB, of which dom0's {dom0_mib} MiB leave no room for guests"
            yield f"{left}; give dom0 less, by --dom0-memory."
    for named in facts.named:
        if said := what_is_on(named, facts.devices, facts.volumes, group=GROUP):
            also = f" ({named.path})" if named.path not in ("", named.name) else ""
            yield f"Disk '{named.name}'{also} {said}."
    if not (facts.has_group or facts.named):
        empty = [str(one) for one in facts.devices if looks_empty(one)]
        propose = f"empty is {', '.join(empty)}" if empty else "and none is empty"
        yield f"It has no volume group '{GROUP}', and no disk was named for it by --disk; {propose}."


def _menu_is_needed(facts: Facts, wish: Wish) -> bool:
    """Whether GRUB starts something else than Xen with that memory for dom0. A dom0 without a menu boots otherwise."""
    now = _memory_of_menu(facts)
    if facts.is_dom0 and not facts.menu:
        now = dom0_memory(facts.xen_words)
    return now is None or (wish.dom0_mib is not None and now != _memory_words(facts, wish))


def _memory_of_menu(facts: Facts) -> str | None:
    """dom0's memory where GRUB's default is Xen and says so."""
    entry = default_entry(facts.menu)
    return dom0_memory(entry.xen) if entry is not None and entry.xen is not None else None


def _memory_words(facts: Facts, wish: Wish) -> str:
    """One memory from the start on, and never more."""
    mib = wish.dom0_mib or DOM0_MIB
    return f"{mib}M,max:{mib}M"


def _device(facts: Facts, path: str) -> Device:
    return next(one for root in facts.devices for one in root.all() if one.path == path)


def _each_once(named: tuple[Named, ...]) -> tuple[Named, ...]:
    return tuple({one.path: one for one in named}.values())
