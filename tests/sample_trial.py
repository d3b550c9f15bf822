"""Trials as they come about: the probes as docs/reference/probes.md names them, on a site of six machines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from gridvisor.probe.outcome import BLOCKED, Outcome, ProbeResult
from gridvisor.trial.model import (
    Blame,
    Change,
    Finding,
    Guilty,
    LoadJob,
    Measure,
    Stage,
    StageResult,
    Step,
    Trial,
    Verdict,
    Weight,
)

MACHINES = {"ui": ("ui",), "ce": ("ce",), "wn": ("wn1", "wn2"), "se": ("se",), "mon": ("mon",)}
BEGAN_S = 1795452300.0  # 2026-11-23 16:45:00 UTC
_PROBES = Path(__file__).resolve().parents[1] / "docs" / "reference" / "probes.md"
_SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PROBE = re.compile(r"^- `(\w+)`: (.*?)(?=^- `|\n\n|\Z)", re.MULTILINE | re.DOTALL)
_FOR = re.compile(r" For ((?:`[^`]+`(?:,\s+)?)+)\.")
_ORDER = ("se", "mon", "ce", "wn1", "wn2", "ui")

_JAVA = "Known until 2026-12-31: the role 'ui' is to take Java 21\nA client program starts and says its version."
_QUEUING = "A job finishes, and its output comes back.\nAssertionError: after 120 s the job is 'Queuing'"

Outcomes = Mapping[str, tuple[Outcome, str]]


def probes(outcomes: Outcomes | None = None, *, all_of_them: bool = True) -> tuple[ProbeResult, ...]:
    """All shipped probes on the six machines, passed unless `outcomes` has another; or all but those of jobs."""
    return tuple(
        ProbeResult(suite, name, outcome, 0.2 + len(name) % 7 / 10, title, why)
        for suite, name, title in _shipped()
        if all_of_them or suite != "site"
        for outcome, why in [(outcomes or {}).get(name, (Outcome.PASSED, ""))]
    )


def _shipped() -> Iterator[tuple[str, str, str]]:
    """Suite, name and title of every probe."""
    for suite, text in _SECTION.findall(_PROBES.read_text()):
        for name, about in _PROBE.findall(text):
            title = " ".join(about.split()).partition(" Needs ")[0].partition(" For ")[0]
            cases = re.findall(r"`([^`]+)`", found[1]) if (found := _FOR.search(about)) else [""]
            machines = [one for names in MACHINES.values() for one in names] if suite == "machine" else MACHINES
            for machine in machines if suite == "machine" else MACHINES.get(suite, ("",)):
                for case in cases:
                    inner = "-".join(part for part in (machine, case) if part)
                    yield suite, f"{name}[{inner}]" if inner else name, title


def _stage(
    stage: Stage, began_s: float, steps: list[tuple[str, float, Outcomes | None]], *findings: Finding
) -> StageResult:
    made, at_s = [], began_s
    for name, seconds, outcomes in steps:
        asked = () if outcomes is None else probes(outcomes, all_of_them=name in ("probes", "all upgraded"))
        made.append(Step(name, at_s, seconds, asked, "kept as 'baseline'" if name == "snapshot" else ""))
        at_s += seconds
    return StageResult(stage, began_s, at_s - began_s, tuple(made), findings)


def ready() -> Trial:
    """A candidate that has nothing against it."""
    began_s = BEGAN_S - 86400
    check = _stage(Stage.SELF_CHECK, began_s, [("site up", 62.0, None), ("probes", 70.0, {}), ("snapshot", 4.1, None)])
    fresh = _stage(Stage.FRESH, began_s + 137, [("site up", 71.0, None), ("probes", 69.0, {})])
    steps: list[tuple[str, float, Outcomes | None]] = [("baseline", 16.0, None)]
    steps += [(machine, 21.0, {}) for machine in _ORDER]
    upgrade = _stage(Stage.UPGRADE, began_s + 278, [*steps, ("all upgraded", 68.0, {}), ("facts", 5.0, None)])
    back = _stage(Stage.ROLLBACK, began_s + 494, [("restore the snapshot", 17.0, None), ("probes", 44.0, {})])
    return Trial(
        id="20261122-164500-trixie-again",
        site="kiam-test",
        candidate="trixie-again",
        summary="the release against itself",
        began_s=began_s,
        ended_s=began_s + 556,
        stages=(check, fresh, upgrade, back),
        before=_BEFORE,
        after=tuple(Measure(one.what, one.unit, tuple(x * 1.01 for x in one.samples)) for one in _BEFORE),
        verdict=Verdict.READY,
        lock={"ce": {"nordugrid-arc-arex": "7.0.0-2"}, "se": {"xrootd-server": "5.8.1-1"}},
    )


def not_ready() -> Trial:
    """A candidate with most of what can come of one: findings of all kinds, a mixed site that fails, one guilty."""
    began_s = BEGAN_S
    refused = "AssertionError: arcctl says: 'Failed to connect to Slurm: slurm_load_jobs error'\nassert 1 == 0"
    slurm: Outcomes = {
        "arex_runs_jobs[ce]": (Outcome.FAILED, refused),
        "job_finished": (Outcome.FAILED, "AssertionError: after 120 s the job is 'Queuing'"),
        "job_seen_in_slurm": (Outcome.BLOCKED, f"{BLOCKED}job_finished"),
        "job_ran_on_a_worker_node": (Outcome.BLOCKED, f"{BLOCKED}job_finished"),
        "job_in_the_accounting": (Outcome.BLOCKED, f"{BLOCKED}job_finished"),
    }
    voms: Outcomes = {"client_runs[ui-voms-proxy-info]": (Outcome.FAILED, "AssertionError: it wants Java 21")}
    mixed: Outcomes = {
        "slurm_daemon_runs[wn1]": (
            Outcome.FAILED,
            "AssertionError: slurmd: 'Incompatible versions of client and server'",
        ),
        "slurm_daemon_runs[wn2]": (
            Outcome.FAILED,
            "AssertionError: slurmd: 'Incompatible versions of client and server'",
        ),
        "slurm_has_nodes[ce]": (Outcome.FAILED, "AssertionError: wn1 and wn2 are down*"),
    }
    skipped: Outcomes = {"farm_out_of_reach[ui]": (Outcome.SKIPPED, "no worker node listens yet")}
    check = _stage(
        Stage.SELF_CHECK,
        began_s,
        [("site up", 58.4, None), ("freeze packages", 9.8, None), ("probes", 71.2, {}), ("snapshot", 4.3, None)],
    )
    fresh = _stage(
        Stage.FRESH,
        began_s + 144,
        [("site up", 73.5, None), ("probes", 190.2, {**slurm, **voms})],
        Finding(
            Blame.MIDDLEWARE,
            Weight.NO,
            Stage.FRESH,
            "probes",
            "arex_runs_jobs[ce]",
            f"The part of A-REX that drives the jobs is alive.\n{refused}",
            ("evidence/fresh-probes.tar.gz",),
        ),
        Finding(
            Blame.MIDDLEWARE,
            Weight.NO,
            Stage.FRESH,
            "probes",
            "job_finished",
            _QUEUING,
            ("evidence/fresh-probes.tar.gz",),
        ),
        Finding(
            Blame.CONFIGURATION,
            Weight.KNOWN,
            Stage.FRESH,
            "probes",
            "client_runs[ui-voms-proxy-info]",
            _JAVA,
        ),
    )
    upgrade = _stage(
        Stage.UPGRADE,
        began_s + 408,
        [
            ("baseline", 15.9, None),
            ("se", 24.0, {}),
            ("mon", 19.3, {}),
            ("ce", 44.8, {**mixed, "arex_runs_jobs[ce]": (Outcome.FAILED, refused)}),
            ("wn1", 22.7, {"slurm_daemon_runs[wn2]": mixed["slurm_daemon_runs[wn2]"], **slurm}),
            ("wn2", 23.1, dict(slurm)),
            ("ui", 18.4, {**slurm, **skipped}),
            ("all upgraded", 181.0, {**slurm, **voms}),
            ("measure", 41.0, None),
            ("facts", 5.2, None),
        ],
        Finding(
            Blame.MIDDLEWARE,
            Weight.NO,
            Stage.UPGRADE,
            "ce",
            "arex_runs_jobs[ce]",
            f"The part of A-REX that drives the jobs is alive.\n{refused}",
            ("evidence/upgrade-ce.tar.gz",),
        ),
        *(
            Finding(
                Blame.MIDDLEWARE,
                Weight.NO,
                Stage.UPGRADE,
                "ce",
                name,
                f"Worker nodes of the release before are not taken by the controller.\n{why}",
                ("evidence/upgrade-ce.tar.gz",),
            )
            for name, (_, why) in mixed.items()
        ),
        Finding(
            Blame.MIDDLEWARE,
            Weight.NO,
            Stage.UPGRADE,
            "all upgraded",
            "job_finished",
            _QUEUING,
            ("evidence/upgrade-all-upgraded.tar.gz",),
        ),
        Finding(
            Blame.MIDDLEWARE,
            Weight.NO,
            Stage.UPGRADE,
            "load",
            "job 17 of the load",
            "The job was submitted before 'ce' was upgraded, and nobody knows of it since.",
            ("evidence/load.jsonl",),
        ),
        Finding(
            Blame.CONFIGURATION,
            Weight.KNOWN,
            Stage.UPGRADE,
            "all upgraded",
            "client_runs[ui-voms-proxy-info]",
            _JAVA,
        ),
        Finding(
            Blame.MIDDLEWARE,
            Weight.REMARK,
            Stage.UPGRADE,
            "facts",
            "submit of a job",
            "1.9 s instead of 0.9 s: well outside what the baseline's runs differ by.",
        ),
    )
    back = _stage(
        Stage.ROLLBACK,
        began_s + 806,
        [("downgrade", 52.0, {}), ("restore the snapshot", 16.8, None), ("probes", 44.0, {})],
    )
    return Trial(
        id="20261123-164500-sid-middleware",
        site="kiam-test",
        candidate="sid-middleware",
        summary="ARC, XRootD and Slurm of sid on trixie",
        began_s=began_s,
        ended_s=began_s + 921,
        stages=(check, fresh, upgrade, back),
        changes=_CHANGES,
        jobs=_jobs(),
        before=_BEFORE,
        after=_AFTER,
        guilty=(
            Guilty(
                "arex_runs_jobs[ce]",
                ("slurm-wlm", "slurmctld"),
                0.95,
                (
                    "fails with nordugrid-arc-arex, slurm-wlm, slurmctld, xrootd-server",
                    "is fine with nordugrid-arc-arex, xrootd-server",
                    "fails with slurm-wlm, slurmctld",
                    "is fine with slurm-wlm",
                    "is fine with slurmctld",
                ),
            ),
        ),
        verdict=Verdict.NOT_READY,
        lock={
            "ce": {
                "nordugrid-arc-arex": "7.1.1-1",
                "nordugrid-arc-client": "7.1.1-1",
                "slurmctld": "25.05.2-1",
                "slurm-wlm": "25.05.2-1",
                "libslurm42t64": "",
            },
            "se": {"xrootd-server": "5.9.0-1", "libxrootd-server3": "5.9.0-1"},
            "ui": {"nordugrid-arc-client": "7.1.1-1", "xrootd-client": "5.9.0-1"},
            "wn": {"slurmd": "25.05.2-1"},
        },
    )


def _jobs() -> tuple[LoadJob, ...]:
    """Those that went through the site of `not_ready` while it was upgraded; the seventeenth was lost."""
    began_s = BEGAN_S + 424
    return tuple(
        LoadJob(f"job {number}", began_s + 6.5 * number, 9.0 + number * 7 % 5, "" if number != 17 else "lost")
        for number in range(1, 24)
    )


_BEFORE = (
    Measure("submit of a job", "s", (0.88, 0.91, 0.94, 0.9, 0.87)),
    Measure("job, there and back", "s", (14.2, 15.1, 14.6, 14.9, 15.4)),
    Measure("transfer to the SE", "MiB/s", (38.2, 41.0, 39.6, 40.3, 37.9)),
    Measure("start of a-rex", "s", (2.1, 2.3, 2.2)),
    Measure("memory in use on ce", "MiB", (141.0, 143.5, 142.2)),
)
_AFTER = (
    Measure("submit of a job", "s", (1.92, 1.88, 1.95, 1.9, 2.04)),
    Measure("job, there and back", "s", (15.0, 15.6, 14.8)),
    Measure("transfer to the SE", "MiB/s", (40.1, 42.2, 39.0)),
    Measure("memory in use on ce", "MiB", (163.9, 161.2, 162.8)),
    Measure("start of slurmrestd", "s", (0.7, 0.8)),
)
_CHANGES = (
    Change("ce", "file", "/etc/arc.conf", "0600 root:root", "0644 root:root", 90),
    Change("ce", "port", "6820/tcp", "", "slurmrestd", 80),
    Change("ce", "unit", "slurmrestd.service", "", "enabled, active", 70),
    Change("ui", "package", "voms-clients-java", "3.3.2-1", "", 60),
    *(
        Change(machine, "package", name, before, after)
        for machine, name, before, after in (
            ("ce", "nordugrid-arc-arex", "7.0.0-2", "7.1.1-1"),
            ("ce", "nordugrid-arc-client", "7.0.0-2", "7.1.1-1"),
            ("ce", "slurmctld", "24.11.5-4", "25.05.2-1"),
            ("se", "xrootd-server", "5.8.1-1", "5.9.0-1"),
            ("ui", "nordugrid-arc-client", "7.0.0-2", "7.1.1-1"),
            ("wn1", "slurmd", "24.11.5-4", "25.05.2-1"),
            ("wn2", "slurmd", "24.11.5-4", "25.05.2-1"),
        )
    ),
    Change("se", "file", "/etc/xrootd/xrootd-http.cfg", "sha256 5c1d…", "sha256 a90e…", 20),
    Change("ce", "size", "/usr", "612 MiB", "655 MiB"),
    Change("mon", "user", "_chrony", "uid 106", "uid 107", 10),
)
