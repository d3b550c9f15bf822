"""What `xl info` says of the host (xl(1)), and what xl.conf(5) says of its memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gridvisor.core.errors import ToolOutput

# `xl info`, and after it the setting of xl.conf(5) as a line of the same form.
LOOK = """\
xl info
[ ! -r /etc/xen/xl.conf ] || while read -r line; do
    case $line in autoballoon*=*) echo "${line%%=*}: ${line#*=}" ;; esac
done </etc/xen/xl.conf
"""


@dataclass(frozen=True, slots=True)
class XenInfo:
    """A Xen host: `free_mib` is what no domain has, `facts` all lines by their keys.

    `is_fixed` when dom0 has memory of its own, and gives none of it to guests that are created.
    """

    free_mib: int
    is_fixed: bool
    facts: dict[str, str]


def parse_info(said: str) -> XenInfo:
    """What the commands of LOOK printed. Raises ToolOutput when it is not said how much memory is free."""
    pairs = (line.partition(":") for line in said.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    if "free_memory" not in facts:
        raise ToolOutput(f"xl info does not say how much memory is free:\n{said[:400]}")
    try:
        free_mib = int(facts["free_memory"])
    except ValueError as error:
        raise ToolOutput(f"xl info gives no number of MiB that are free: '{facts['free_memory']}'.") from error
    told = re.search(r"\bdom0_mem=", facts.get("xen_commandline", "")) is not None
    # xl.conf(5): without a word it is 'auto', which is off where dom0_mem is given.
    balloon = facts.get("autoballoon", "auto").partition("#")[0].strip(" \"'")
    return XenInfo(free_mib, told and balloon not in ("on", "1"), facts)
