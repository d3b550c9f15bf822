"""Scripts for dom0 of a Xen host: what each of them begins with, and what came of one."""

from __future__ import annotations

import re
from dataclasses import replace

from gridvisor.core.errors import GridvisorError, TimedOut
from gridvisor.run.command import Command, CommandFailed, Result, script
from gridvisor.run.target import Target

ASK_S = 60.0
XL_S, XL_SAVE_S = 45, 560  # of one `xl`, well within those of the script that it is called in
# A lost connection kills nothing: what was begun is finished, or taken back. A tool that hangs is ended, and named.
HEAD = f"""\
PATH=$PATH:/usr/sbin:/sbin
trap '' HUP PIPE
within() {{
    seconds=$1 ended=0
    shift
    timeout -k 5 "$seconds" "$@" || ended=$?
    case $ended in
        0) ;;
        124 | 137) echo "gridvisor: not ended within $seconds s: $*" >&2 ;;
        *) echo "gridvisor: status $ended of: $*" >&2 ;;
    esac
    return $ended
}}
there() {{
    told=0
    said=$(within {XL_S} xl domid "$1" 2>&1) || told=$?
    case $told in 124 | 137) echo "$said" >&2; exit 1 ;; esac
    return $told
}}
detach() {{
    for device in $(losetup --associated "$1" --noheadings --output NAME); do
        losetup --detach "$device"
    done
}}
# By its UUID: it may not have got its name yet. Before the flags there are its id, memory and processors.
destroy_half() {{
    id=$(within {XL_S} xl list -v | sed -n "/ $1 /s/ \\+[a-z-]\\{{6\\}} .*//p" | awk '{{ print $(NF - 2) }}')
    [ -z "$id" ] || within {XL_S} xl destroy "$id" 2>/dev/null || :
}}
uuid_in() {{
    sed -n 's/.*"uuid": "\\([0-9a-f-]*\\)".*/\\1/p' "$1"
}}
"""
_TOLD = re.compile(
    r"^gridvisor: (?:not ended within (?P<seconds>\d+) s|status (?P<status>\d+) of): (?P<command>.*)\n", re.MULTILINE
)


def run_script(dom0: Target, source: str, *words: str, stdin: bytes | None = None, timeout_s: float = ASK_S) -> Result:
    """Run a script in dom0. Of one that fails, the command in it that failed is told."""
    try:
        return dom0.run(script(f"{HEAD}{source}", *words, stdin=stdin), timeout_s=timeout_s)
    except CommandFailed as error:
        raise what_failed(error.result) from error


def what_failed(result: Result) -> GridvisorError:
    """What to raise for a script that failed: the command in it that did, as far as it is known."""
    if (told := _TOLD.search(result.stderr)) is None:
        return CommandFailed(result)
    if told["seconds"]:
        return TimedOut(
            f"A command on '{result.where}' had not ended after {told['seconds']} s, and was killed:\n"
            f"    {told['command']}",
            hint="try it there by hand; are xenstored and xenconsoled running?",
        )
    command = Command(tuple(told["command"].split()))
    stderr = _TOLD.sub("", result.stderr)
    return CommandFailed(replace(result, command=command, status=int(told["status"]), stderr=stderr))
