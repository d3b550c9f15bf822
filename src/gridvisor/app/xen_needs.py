"""What a Xen host has of what our guests need: looked at in one go, and told with what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gridvisor.app.finding import Finding, Verdict
from gridvisor.app.xen_host import GROUP
from gridvisor.core.units import format_size
from gridvisor.run.command import script
from gridvisor.run.target import Target

_LOOK_S = 60.0
XEN = "xen-system-amd64"
# A command that each Debian package brings, and why we call it.
TOOLS = {
    "xl": (XEN, "creates domains"),
    "xenstore-read": ("xenstore-utils", "tells scripts of Xen which disk is meant"),
    "lvcreate": ("lvm2", "makes volumes"),
    "thin_check": ("thin-provisioning-tools", "checks a thin pool"),
    "mke2fs": ("e2fsprogs", "makes the file systems of data volumes"),
    "socat": ("socat", "leads ssh to guests"),
    "zstd": ("zstd", "unpacks images on their way"),
    "ip": ("iproute2", "makes bridges"),
    "nsenter": ("util-linux", "enters the namespaces of sites"),
    "losetup": ("mount", "attaches identities, which are files"),
}
PACKAGES = tuple(package for package, _ in TOOLS.values())
MODULES = ("xen-blkback", "xen-netback", "bridge", "veth", "loop", "dm-thin-pool")
# What xl.conf says of it, behind that word; nothing when it says nothing.
AUTOBALLOON = """\
sed -n 's/^ *autoballoon *= *"\\{0,1\\}\\([a-z0-9]*\\).*/autoballoon \\1/p' /etc/xen/xl.conf 2>/dev/null || :
"""
# Lines of a word and what it is; nothing is changed.
_LOOK = f"""\
PATH=$PATH:/usr/sbin:/sbin
group=$1 tools=$2 modules=$3
echo "user $(id -u)"
echo "dom0 $(cat /proc/xen/capabilities 2>/dev/null || :)"
for tool in $tools; do
    ! command -v "$tool" >/dev/null || echo "tool $tool"
done
for module in $modules; do
    ! modprobe -n -q "$module" || echo "module $module"
done
xl info 2>/dev/null | sed -n 's/^\\(xen_version\\|xen_commandline\\|free_memory\\|total_memory\\) *: /\\1 /p' || :
{AUTOBALLOON}\
bytes='--noheadings --units b --nosuffix'
vgs $bytes -o vg_free,vg_size "$group" 2>/dev/null | sed 's/^ */group /' || :
lvs $bytes -o lv_attr,lv_size,data_percent "$group" 2>/dev/null | sed -n 's/^ *t/pool t/p' || :
"""


def look_at(dom0: Target) -> tuple[Finding, ...]:
    """Everything that our guests need of the machine, looked at without changing anything. Raises Unreachable."""
    said = dom0.run(script(_LOOK, GROUP, " ".join(TOOLS), " ".join(MODULES)), timeout_s=_LOOK_S).stdout
    return tuple(findings(said))


def findings(said: str) -> Iterator[Finding]:
    """What the lines that were printed over there mean."""
    lines = [line.split(maxsplit=1) for line in said.splitlines() if line.strip()]
    facts = {line[0]: line[1] if len(line) > 1 else "" for line in lines}
    tools = {line[1] for line in lines if line[0] == "tool"}
    modules = {line[1] for line in lines if line[0] == "module"}
    yield _finding("root", facts.get("user") == "0", "domains, volumes and bridges are root's", "log in as root")
    for tool, (package, why) in TOOLS.items():
        yield _finding(package, tool in tools, f"{tool} {why}", f"apt-get install {package}")
    if missing := [module for module in MODULES if module not in modules]:
        yield Finding("kernel modules", Verdict.MISSING, ", ".join(missing), "boot a kernel that has them")
    else:
        yield Finding("kernel modules", Verdict.GOOD, ", ".join(MODULES))
    yield from _xen(facts)
    yield from _group(facts)


def _finding(what: str, good: bool, why: str, mend: str) -> Finding:
    return Finding(what, Verdict.GOOD, why) if good else Finding(what, Verdict.MISSING, why, mend)


def _xen(facts: dict[str, str]) -> Iterator[Finding]:
    if "control_d" not in facts.get("dom0", ""):
        mend = "apt-get install xen-system-amd64; update-grub; reboot, into the entry 'with Xen hypervisor'"
        yield Finding("Xen", Verdict.MISSING, "this machine is no dom0", mend)
        return
    yield Finding("Xen", Verdict.GOOD, f"version {facts.get('xen_version', 'unknown')}; this is its dom0")
    fixed = re.search(r"\bdom0_mem=(\S+)", facts.get("xen_commandline", ""))
    grub = 'GRUB_CMDLINE_XEN_DEFAULT="dom0_mem=2G,max:2G" in /etc/default/grub; update-grub; reboot'
    why = f"dom0_mem={fixed[1]}" if fixed else "dom0 has all of it, and guests that are created wait for some in line"
    yield _finding("memory of dom0", fixed is not None, why, grub)
    # xl.conf(5): without a word it is 'auto', which is off where dom0_mem is given.
    told = facts.get("autoballoon", "auto")
    off = told in ("off", "0") or (told == "auto" and fixed is not None)
    yield _finding("autoballoon", off, f"is {'off' if off else 'on'}", 'autoballoon="off" in /etc/xen/xl.conf')
    free_mib = int(facts.get("free_memory", "0"))
    yield _finding("memory", free_mib >= 256, f"{free_mib} MiB are free for guests", "xl list; end other domains")


def _group(facts: dict[str, str]) -> Iterator[Finding]:
    what = f"volume group {GROUP}"
    if "group" not in facts:
        yield Finding(what, Verdict.MISSING, "disks of guests are made in it", f"vgcreate {GROUP} /dev/DISK")
        return
    free, size = (int(word) for word in facts["group"].split())
    if "pool" not in facts:
        yield Finding(what, Verdict.GOOD, f"{format_size(free)} of {format_size(size)} are free")
        make = f"lvcreate --type thin-pool -l 90%FREE -n thin {GROUP}"
        yield Finding("thin pool", Verdict.NOTE, f"without one, each clone sets its whole size aside: {make}")
        return
    _, pool, *used = facts["pool"].split()
    left = int(int(pool) * (1 - float(used[0] if used else 0) / 100))
    yield Finding(what, Verdict.GOOD, f"{format_size(size)}, with a thin pool of {format_size(int(pool))}")
    yield _finding("thin pool", left >= 2 << 30, f"{format_size(left)} are free", f"lvextend -L +20G {GROUP}/POOL")
