"""Many trials on a whole site, by hand: planted faults, or a release against itself. Takes some minutes for each.

    sudo .venv/bin/python tests/campaigns/trials.py [--site FILE] faults [NAME...]
    sudo .venv/bin/python tests/campaigns/trials.py [--site FILE] itself [TIMES]

The site is examples/kiam.yaml, or another one that has ui, ce, wn and se; and mon, without which a fault in its bdii is
tried on nobody. Prints a line for each trial, with what it says and how long it took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests"))

from faults import FAULTS, Fault, candidate, package_files  # noqa: E402

# Beside the guilty part each candidate has a file, and a package for a machine that the fault is on.
BESIDE = {
    "ce/": "slurmctld",
    "se/": "xrootd-server",
    "slurmctld": "munge",
    "munge": "slurmctld",
    "bdii": "xrootd-server",
}
ITSELF = ("munge", "slurmctld", "nordugrid-arc-client", "xrootd-server", "bdii")


def trial(site: Path, file: Path, *options: str) -> tuple[dict[str, Any], float]:
    """What a trial of that candidate on that site says, and the seconds that it took."""
    words = (str(PROJECT / ".venv/bin/gridvisor"), "verify", str(site), "--candidate", str(file), "-o", "json")
    began_s = time.monotonic()
    done = subprocess.run((*words, "--anew", *options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if not done.stdout:
        sys.exit(f"{' '.join(words)} ended with {done.returncode} and said nothing.")
    return json.loads(done.stdout), time.monotonic() - began_s


def findings(told: dict[str, Any]) -> list[dict[str, Any]]:
    """All findings of a trial."""
    return [one for stage in told["stages"] for one in stage["findings"]]


def named(finding: dict[str, Any]) -> str:
    """Where a finding was, and what it is."""
    return f"{finding['stage']}, {finding['step']}: {finding['what']}"


def with_fault(site: Path, fault: Fault, folder: Path, debs: Path) -> None:
    """Try a candidate with that fault in one of three parts."""
    beside = next((package for part, package in BESIDE.items() if fault.guilty.startswith(part)), "slurmctld")
    file = candidate(fault, folder / fault.name, debs, innocent=(beside,))
    motd = folder / fault.name / "roles/se/tree/etc/motd"
    motd.parent.mkdir(parents=True, exist_ok=True)
    motd.write_text("A storage element.\n")
    if "roles:" not in file.read_text():
        file.write_text(file.read_text() + "roles: ./roles\n")
    told, seconds = trial(site, file, "--without", "fresh", "--without", "rollback", "--bisect")
    found = [one for one in findings(told) if one["weight"] == "no"]
    caught = told["verdict"] == "not ready" and any(fault.caught in named(one) for one in found)
    # What cannot be installed is named by apt, and not searched for.
    by_apt = any(fault.guilty in one["text"] for one in found if one["step"] == "packages")
    is_named = by_apt or any(one["suspects"] == [fault.guilty] for one in told["guilty"])
    words = ("caught" if caught else "MISSED", "named" if is_named else "NOT NAMED")
    suspects = "; ".join(f"{', '.join(one['suspects'])} ({one['sure']:.0%})" for one in told["guilty"])
    say(f"{fault.name:<20} {words[0]:<7} {words[1]:<10} {seconds:5.0f} s  {' | '.join(map(named, found))} | {suspects}")


def against_itself(site: Path, times: int, folder: Path, debs: Path) -> None:
    """Try packages of which nothing but the version is new: the same files on each machine, so no finding may come."""
    fault = Fault("itself", lambda _folder, _debs: None, "", "")
    there = [name for name in ITSELF if any(debs.glob(f"{name}_*.deb"))]
    file = candidate(fault, folder / "itself", debs, innocent=there)
    for number in range(1, times + 1):
        told, seconds = trial(site, file)
        say(f"{number:>3}  {told['verdict']:<20} {seconds:5.0f} s  {' | '.join(map(named, findings(told)))}")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=PROJECT / "examples/kiam.yaml", help="a site file")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("faults").add_argument("names", nargs="*", metavar="NAME")
    kinds.add_parser("itself").add_argument("times", nargs="?", type=int, default=20)
    wish = parser.parse_args()
    if wish.kind == "faults" and (unknown := set(wish.names) - {fault.name for fault in FAULTS}):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        debs = package_files(os.environ, wish.site, folder / "debs")
        if wish.kind == "itself":
            against_itself(wish.site, wish.times, folder, debs)
        else:
            for fault in FAULTS:
                if not wish.names or fault.name in wish.names:
                    with_fault(wish.site, fault, folder, debs)


if __name__ == "__main__":
    main()
