"""GRUB's menu as `update-grub` writes it to /boot/grub/grub.cfg: the entry that is started by default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_OPENS = re.compile(r"\s*(?:menuentry|submenu) '(?P<title>(?:[^']|'\\'')*)'(?P<options>.*)\{\s*")
_ID = re.compile(r"\$menuentry_id_option '(?P<id>[^']*)'")
_DEFAULT = re.compile(r'\s*set default="(?P<entry>[^"]*)"\s*')
# The hypervisor is the kernel of an entry that /etc/grub.d/20_linux_xen writes, and Linux is a module of it.
_XEN = re.compile(r"\s*(?:multiboot2?|xen_hypervisor)\s+\S*/xen\S*(?P<words>.*)")
_DOM0_MEM = re.compile(r"(?:^|\s)dom0_mem=(\S+)")


@dataclass(slots=True)
class Entry:
    """An entry of the menu, or a menu below it; `xen` are the words for Xen, None where it starts something else."""

    title: str
    id: str
    xen: str | None = None
    below: list[Entry] = field(default_factory=list)


def default_entry(menu: str) -> Entry | None:
    """The entry that is started when nobody chooses; None when it is not told, as where the last choice is kept."""
    told = [match["entry"] for line in menu.splitlines() if (match := _DEFAULT.fullmatch(line))]
    # A value that is a variable of GRUB is one that a single boot, or the last choice, has set.
    fixed = [one for one in told if not one.startswith("$")]
    return _find(_entries(menu), fixed[-1].split(">")) if fixed else None


def dom0_memory(words: str) -> str | None:
    """What these words for Xen say of dom0's memory, such as '2G,max:2G'; the last of several counts."""
    return next(reversed(_DOM0_MEM.findall(words)), None)


def _entries(menu: str) -> Sequence[Entry]:
    root = Entry("", "")
    open_ones = [root]
    for line in menu.splitlines():
        if match := _OPENS.fullmatch(line):
            id = _ID.search(match["options"])
            entry = Entry(match["title"].replace("'\\''", "'"), id["id"] if id else "")
            open_ones[-1].below.append(entry)
            open_ones.append(entry)
        elif line.strip() == "}" and len(open_ones) > 1:
            open_ones.pop()
        elif match := _XEN.fullmatch(line):
            open_ones[-1].xen = match["words"].strip()
    return root.below


def _find(entries: Sequence[Entry], way: Sequence[str]) -> Entry | None:
    """By number, title or id, as grub(7) takes them; a menu stands for its first entry."""
    name, *rest = way
    found = next(_called(entries, name), None)
    if found is None or not (rest or found.below):
        return found
    return _find(found.below, rest or ["0"])


def _called(entries: Sequence[Entry], name: str) -> Iterator[Entry]:
    for number, entry in enumerate(entries):
        if name in (str(number), entry.title, entry.id):
            yield entry
