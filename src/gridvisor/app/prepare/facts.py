"""What a machine is that shall be a Xen host: looked at in one go, without changing anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gridvisor.app.prepare.disk import LSBLK, PVS, Device, Named, PhysicalVolume, parse_lsblk, parse_pvs, parse_wipefs
from gridvisor.app.xen_host import GROUP
from gridvisor.app.xen_needs import AUTOBALLOON, MODULES, TOOLS, XEN
from gridvisor.core.errors import ToolOutput
from gridvisor.run.command import script
from gridvisor.run.target import Target

_LOOK_S = 120.0
LOADERS = ("grub-pc", "grub-efi-amd64")
_HEAD = "::gridvisor "
# Parts with a heading each. An empty part is what the machine has not.
_LOOK = f"""\
PATH=$PATH:/usr/sbin:/sbin
packages=$1 tools=$2 modules=$3 group=$4
shift 4
part() {{ printf '\\n{_HEAD}%s\\n' "$*"; }}
part user; id -u
part os; cat /etc/os-release
part architecture; dpkg --print-architecture || :
part installed; dpkg-query -W -f '${{Package}} ${{db:Status-Abbrev}}\\n' $packages 2>/dev/null || :
part tools; for tool in $tools; do command -v "$tool" >/dev/null && echo "$tool" || :; done
part unfinished; dpkg --audit 2>/dev/null || :
part modules
for module in $modules; do ! modprobe -n -q "$module" 2>/dev/null || echo "$module"; done
part release; uname -r
part memory; sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo
part boot; cat /proc/sys/kernel/random/boot_id
# The first four bytes are attributes, the fifth is the value (UEFI 2.10, 3.3).
part secure; od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c \
    2>/dev/null || :
part menu; cat /boot/grub/grub.cfg 2>/dev/null || :
part dom0; cat /proc/xen/capabilities 2>/dev/null || :
part xen; xl info 2>/dev/null || :
part domains; xl list 2>/dev/null || :
part autoballoon; {AUTOBALLOON}
part devices; {LSBLK}
part volumes; {PVS} 2>/dev/null || :
part names; lvs --noheadings -o lv_name "$group" 2>/dev/null || :
part group; vgs --noheadings -o vg_name "$group" 2>/dev/null || :
for disk; do
    path=$(readlink -f -- "$disk" || :)
    part disk "$disk $path"
    [ ! -b "$path" ] || wipefs --json "$path"
done
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen. `loader` is the package of GRUB that the machine boots by, `menu` the text of GRUB's menu.

    `tools` are those of `xen_needs` that are there, `has_xen` says whether Debian's Xen is installed, whole.
    `xen_words` are those that Xen runs with, if this is a dom0; `guests` its domains beside dom0.
    """

    where: str
    is_root: bool
    os_id: str
    os_name: str
    architecture: str
    kernel: str
    tools: frozenset[str]
    has_xen: bool
    is_unfinished: bool
    modules: frozenset[str]
    memory_mib: int
    boot_id: str
    loader: str | None
    is_secure_boot: bool
    menu: str
    is_dom0: bool
    xen_words: str
    guests: int
    autoballoon: str
    devices: tuple[Device, ...]
    volumes: tuple[PhysicalVolume, ...]
    has_group: bool
    volume_names: frozenset[str]
    named: tuple[Named, ...]


def look(dom0: Target, disks: Sequence[str] = ()) -> Facts:
    """What the machine is, and what is on those disks of it. Raises Unreachable."""
    words = (" ".join((XEN, *LOADERS)), " ".join(TOOLS), " ".join(MODULES), GROUP, *disks)
    return facts_of(dom0.run(script(_LOOK, *words), timeout_s=_LOOK_S).stdout, where=dom0.name)


def facts_of(said: str, *, where: str) -> Facts:
    """What the parts that were printed over there mean. Raises ToolOutput when one is not there."""
    parts: dict[str, str] = {}
    for part in said.split(f"\n{_HEAD}")[1:]:
        heading, _, text = part.partition("\n")
        parts[heading] = text.strip("\n")
    try:
        return _facts(parts, where)
    except (KeyError, ValueError) as error:
        raise ToolOutput(f"What '{where}' says of itself cannot be read: {error!r}") from error


def _facts(parts: dict[str, str], where: str) -> Facts:
    os = dict(line.split("=", 1) for line in parts["os"].splitlines() if "=" in line)
    rows = [line.split() for line in parts["installed"].splitlines()]
    installed = frozenset(row[0] for row in rows if row[1:] == ["ii"])
    xen = dict(re.findall(r"^(\w+) *: (.*)$", parts["xen"], re.MULTILINE))
    return Facts(
        where=where,
        is_root=parts["user"] == "0",
        os_id=os.get("ID", "").strip('"'),
        os_name=os.get("PRETTY_NAME", "").strip('"'),
        architecture=parts["architecture"],
        kernel=parts["release"],
        tools=frozenset(parts["tools"].split()),
        has_xen=XEN in installed,
        is_unfinished=bool(parts["unfinished"].strip()),
        modules=frozenset(parts["modules"].split()),
        # dom0 itself has less than the machine.
        memory_mib=int(xen["total_memory"]) if "total_memory" in xen else int(parts["memory"]) >> 10,
        boot_id=parts["boot"],
        loader=next((one for one in LOADERS if one in installed), None),
        is_secure_boot=parts["secure"].strip() == "1",
        menu=parts["menu"],
        is_dom0="control_d" in parts["dom0"],
        xen_words=xen.get("xen_commandline", ""),
        guests=max(0, len(parts["domains"].splitlines()) - 2),  # a heading, and dom0
        autoballoon=next((line.split()[1] for line in parts["autoballoon"].splitlines() if " " in line), "auto"),
        devices=parse_lsblk(parts["devices"]),
        volumes=parse_pvs(parts["volumes"]),
        has_group=bool(parts["group"].strip()),
        volume_names=frozenset(parts["names"].split()),
        named=tuple(
            Named(*_two(heading.removeprefix("disk ")), parse_wipefs(text))
            for heading, text in parts.items()
            if heading.startswith("disk ")
        ),
    )


def _two(text: str) -> tuple[str, str]:
    name, _, path = text.partition(" ")
    return name, path
