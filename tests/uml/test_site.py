"""A whole site of six machines: brought up, probed, worked on, broken in every way that we know, and removed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import eventually
from home import EXAMPLES, Home

pytestmark = pytest.mark.uml

UP_S = 900.0  # images are built in the first run on a machine
LIVE_S = 600.0
KILLS = 5

# All but the jobs and what takes seconds and has nothing to do with services.
QUICK = "not test_site and not reaches_nothing and not no_way_out and not client_runs and not certificate"


@pytest.fixture(scope="module")
def site(shared_home: Home) -> Iterator[Path]:
    """The file of the paper's site, which is up; it publishes nothing, since somebody may have one up already."""
    file = shared_home.folder / "site.yaml"
    text = (EXAMPLES / "kiam.yaml").read_text()
    file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("publish:")))
    shared_home.ok("up", file, timeout_s=UP_S)
    yield file
    shared_home.ok("destroy", "-y", file)


# Which probes fail when the unit is stopped, besides `services_active` of its machine. Those that need
# these are blocked, not failed.
RED: dict[tuple[str, str], set[str]] = {
    ("ce", "farm-gateway"): {
        *("gateway_filters[ce]", "software_area_read_only[wn1]", "software_area_read_only[wn2]"),
        "prometheus_sees_all[mon]",
    },
    ("ce", "munge"): {"slurm_answers[ce]", "slurm_daemon_runs[wn1]", "slurm_daemon_runs[wn2]"},
    ("ce", "slurmctld"): {"slurm_answers[ce]", "slurm_daemon_runs[wn1]", "slurm_daemon_runs[wn2]"},
    ("ce", "nfs-server"): {"session_folder_exported[ce]", "session_folder_shared[wn1]", "session_folder_shared[wn2]"},
    ("ce", "arc-arex"): {"arex_runs_jobs[ce]"},
    ("ce", "arc-arex-ws"): {"arex_answers[ce]"},
    ("ce", "arc-infosys-ldap"): {"element_published[ce]"},
    ("wn1", "munge"): {"slurm_daemon_runs[wn1]"},
    ("wn1", "slurmd"): {"nodes_listen[ce]", "slurm_daemon_runs[wn1]"},
    ("wn1", "grid-session"): {"session_folder_shared[wn1]"},
    ("se", "xrootd@se"): {"stored_by_root[se]", "stored_by_webdav[se]"},
    ("se", "nfs-server"): {
        *("software_area_exported[se]", "software_area_read_only[wn1]", "software_area_read_only[wn2]"),
    },
    ("mon", "bdii"): {"bdii_answers[mon]"},
    ("mon", "prometheus"): {"prometheus_sees_all[mon]"},
    ("ui", "prometheus-node-exporter"): {"prometheus_sees_all[mon]"},
}

# Slurm's controller notices a node whose daemon ended some 30 s later: when it is asked before that, it has the node.
CHANCE = {"slurm_has_nodes[ce]"}

# Slurm 24.11 does not ping nodes that are down, and asks them to register again every 20 pings only: 200 s here.
RESUME = "sinfo -h -N -t down -o %N | while read node; do scontrol update NodeName=$node State=RESUME; done"


def status(home: Home, *, code: int = 0) -> dict[str, dict[str, Any]]:
    """`status`, by machine."""
    done = home.run("status", "-o", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)["machines"]}


def asked(home: Home, expression: str, *, code: int = 0) -> list[dict[str, str]]:
    """What `check` tells of the probes that `expression` selects."""
    done = home.run("check", "--live", "-o", "json", "-k", expression, timeout_s=LIVE_S)
    assert done.returncode == code, done.stdout + done.stderr
    told: list[dict[str, str]] = json.loads(done.stdout)["probes"]
    return told


def probes(home: Home, expression: str, *, code: int = 0) -> dict[str, str]:
    """Outcomes of the probes that `expression` selects, by their names."""
    return {one["probe"]: one["outcome"] for one in asked(home, expression, code=code)}


def test_second_up_has_nothing_to_do(shared_home: Home, site: Path) -> None:
    done = shared_home.run("up", site)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing to do" in done.stderr


def test_all_machines_are_ready(shared_home: Home, site: Path) -> None:
    found = status(shared_home)
    assert list(found) == ["ui", "ce", "wn1", "wn2", "se", "mon"]
    assert {one["state"] for one in found.values()} == {"ready"}
    assert sum(one["memory_mib"] for one in found.values()) <= 1536


def test_job_gives_its_output_and_its_exit_code(shared_home: Home, site: Path) -> None:
    file = shared_home.folder / "in put"
    file.write_text("from the host\n")
    script = 'hostname; cat "in put"; cp "in put" left; echo "$HOME" \'$HOME\' >&2'
    done = shared_home.run("run", "--input", file, "--output", "left", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    node, content = done.stdout.splitlines()
    assert node in ("wn1", "wn2")
    assert content == "from the host"
    [url] = [line.removeprefix("Stored: ") for line in done.stderr.splitlines() if line.startswith("Stored: ")]
    assert shared_home.ok("ssh", "-l", "tester", "ui", "--", "xrdcp", "--silent", url, "-") == "from the host\n"
    assert shared_home.run("run", "--", "sh", "-c", "exit 5").returncode == 5


@pytest.mark.parametrize(
    "asked",
    [
        "--config /etc/arc.conf --runconfig /dev/stdout --save",
        "--config /etc/arc.conf -b arex/ws -o pidfile",
        "--runconfig /run/arched-arex.cfg --load -b lrms -b arex -b common -o hostname",
        "--runconfig /run/arched-arex.cfg --load --export bash -b arex -f sessiondir -f controldir -f maxjobs",
        "--load -r /run/arc/arc-infosys-ldap.conf -b infosys/ldap -b infosys -b common -e bash",
        "-e json --load -r /run/arched-arex.cfg",
    ],
)
def test_configuration_of_arex_is_told_as_its_own_parser_tells_it(shared_home: Home, site: Path, asked: str) -> None:
    ours, real = (
        shared_home.ok("ssh", "ce", "--", f"/usr/lib/arc/arcconfig-parser{which} {asked} | sort")
        for which in ("", ".distrib")
    )
    assert ours == real != ""


def test_live_check_is_green(shared_home: Home, site: Path) -> None:
    report = shared_home.folder / "probes.xml"
    done = shared_home.run("check", "--live", "--junit", report, timeout_s=LIVE_S)
    assert done.returncode == 0, done.stdout
    assert 'failures="0"' in report.read_text()
    assert "job_in_the_accounting" in report.read_text()


@pytest.mark.parametrize(("stopped_on", "unit"), RED)
def test_stopped_service_turns_exactly_its_probes_red(
    shared_home: Home, site: Path, stopped_on: str, unit: str
) -> None:
    shared_home.ok("ssh", stopped_on, "--", "systemctl", "stop", unit)
    try:
        told = asked(shared_home, QUICK, code=1)
        journal = shared_home.ok("ssh", stopped_on, "--", "journalctl --no-hostname --no-pager --lines 80")
    finally:
        shared_home.ok("ssh", stopped_on, "--", "systemctl", "start", unit)
        shared_home.ok("up", site)
    red = {one["probe"]: one["why"] for one in told if one["outcome"] == "failed"}
    expected = {f"services_active[{stopped_on}]", *RED[stopped_on, unit]}
    assert red.keys() - CHANCE == expected - CHANCE, f"{json.dumps(red, indent=2)}\n{journal}"
    assert {one["outcome"] for one in told} <= {"passed", "failed", "blocked"}

    def well_again() -> bool | str:
        # Each time: a ping that began before the mend may end after it, and takes a node down again.
        shared_home.ok("ssh", "ce", "--", RESUME)
        done = shared_home.run("check", "--live", "-k", "not test_site and (slurm or answers)")
        return done.returncode == 0 or done.stdout + done.stderr

    eventually(well_again, seconds=90)


def test_service_that_crashed_is_told_of_though_it_was_started_again(shared_home: Home, site: Path) -> None:
    def on_wn1(line: str) -> str:
        return shared_home.ok("ssh", "wn1", "--", line)

    on_wn1("systemctl kill --kill-whom=main --signal=SEGV slurmd")
    try:
        eventually(lambda: on_wn1("systemctl is-active slurmd || :") == "active\n")
        outcomes = probes(shared_home, "no_service_crashed or no_failed_unit", code=1)
    finally:
        on_wn1("journalctl --quiet --rotate --vacuum-time=1ms; systemctl reset-failed")
        shared_home.ok("up", site)
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == {"no_service_crashed[wn1]"}
    probes(shared_home, "no_service_crashed")


def test_gateway_that_cannot_start_has_failed_and_is_not_tried_for_ever(shared_home: Home, site: Path) -> None:
    def on_ce(line: str) -> str:
        return shared_home.run("ssh", "ce", "--", line).stdout.strip()

    on_ce("mount --bind /bin/false /usr/local/sbin/farm-gateway && systemctl restart farm-gateway")
    try:
        eventually(lambda: on_ce("systemctl is-failed farm-gateway") == "failed")
    finally:
        on_ce("umount /usr/local/sbin/farm-gateway; systemctl reset-failed farm-gateway; systemctl start farm-gateway")
    assert on_ce("systemctl is-active farm-gateway") == "active"


def test_one_more_worker_node_is_built_alone_and_runs_jobs(shared_home: Home, site: Path) -> None:
    before = status(shared_home)
    text = site.read_text()
    site.write_text(text.replace("count: 2", "count: 3"))
    done = shared_home.run("up", site)
    assert done.returncode == 0, done.stderr
    after = status(shared_home)
    assert list(after) == ["ui", "ce", "wn1", "wn2", "wn3", "se", "mon"]
    assert "boot" in done.stderr
    assert {line.split(":")[0] for line in done.stderr.splitlines() if ": boot" in line} == {"✓ wn3"}
    shared_home.ok("ssh", "ce", "--", "scontrol", "update", "NodeName=wn1,wn2", "State=DRAIN", "Reason=test")
    assert shared_home.ok("run", "--", "hostname") == "wn3\n"
    shared_home.ok("ssh", "ce", "--", "scontrol", "update", "NodeName=wn1,wn2", "State=RESUME")
    site.write_text(text)
    shared_home.ok("up", site)
    assert status(shared_home).keys() == before.keys()


def test_killed_guest_is_told_and_restored_and_the_others_go_on(shared_home: Home, site: Path) -> None:
    running = shared_home.start("run", "--count", "2", "--", "sh", "-c", "sleep 12; hostname")
    eventually(lambda: shared_home.ok("ssh", "ce", "--", "squeue -h -t R").count("\n") == 2, seconds=60)
    since_s = time.time()
    os.kill(guest_pid(shared_home, "kiam-test.mon"), signal.SIGKILL)
    eventually(lambda: status(shared_home, code=1)["mon"]["state"] != "ready")
    found = status(shared_home, code=1)["mon"]
    assert found["state"] == "crashed"
    assert since_s - 1 <= found["since_s"] <= time.time()
    done = shared_home.run("up", site)
    assert done.returncode == 0, done.stderr
    assert {line.split(":")[0] for line in done.stderr.splitlines() if ": boot" in line} == {"✓ mon"}
    assert {one["state"] for one in status(shared_home).values()} == {"ready"}
    stdout, stderr = running.communicate(timeout=180)
    assert running.returncode == 0, stderr
    assert set(stdout.split()) == {"wn1", "wn2"}


def test_files_changed_before_a_guest_is_killed_are_whole_when_it_boots(shared_home: Home, site: Path) -> None:
    motd = shared_home.folder / "roles/ui/tree/etc/motd"
    motd.parent.mkdir(parents=True)

    def up_with(text: str) -> None:
        motd.write_text(text)
        shared_home.ok("up", site)

    def kill() -> None:
        os.kill(guest_pid(shared_home, "kiam-test.ui"), signal.SIGKILL)
        eventually(lambda: status(shared_home, code=1)["ui"]["state"] == "crashed")

    kill()
    up_with("first\n")
    up_with("second\n")
    up_with("first\n")  # what the guest notes that it has unpacked, and yet not what it has on its disk
    kill()
    shared_home.ok("up", site)
    assert shared_home.ok("ssh", "ui", "--", "cat", "/etc/motd") == "first\n"
    shutil.rmtree(shared_home.folder / "roles")
    shared_home.ok("up", site)


def guest_pid(home: Home, domain: str) -> int:
    """The process of the guest's kernel."""
    state = json.loads((home.places.state / "domains" / domain / "state.json").read_text())
    pid: int = state["pid"]
    return pid


def test_service_that_fails_ends_the_wait_with_its_last_words(home: Home) -> None:
    file = home.folder / "broken.yaml"
    file.write_text("site: broken\nmachines: {ui: {}}\n")
    units = home.folder / "roles/ui/tree/etc/systemd/system"
    units.mkdir(parents=True)
    (units / "prometheus-node-exporter.service").write_text(
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo out of luck; exit 1'\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    began_s = time.monotonic()
    said = home.run("up", file, timeout_s=UP_S)
    assert said.returncode == 1, said.stderr
    assert "the unit 'prometheus-node-exporter.service' has failed" in said.stderr
    assert "out of luck" in said.stderr
    assert time.monotonic() - began_s < UP_S
    assert home.ok("ssh", "-s", "broken", "ui", "--", "hostname", "-f") == "ui.grid.test\n"
    shutil.rmtree(home.folder / "roles")
    home.ok("up", file)


def test_role_beside_the_site_file_is_a_machine_of_the_site(home: Home) -> None:
    home.ok("up", EXAMPLES / "squid" / "site.yaml", timeout_s=UP_S)
    page = "http://cache.grid.test:3128/squid-internal-mgr/info"
    assert "Squid Object Cache" in home.ok("ssh", "ui", "--", f"curl --silent --fail --proxy cache:3128 {page}")


@pytest.mark.parametrize(
    ("machines", "told"),
    [("{ui: {memory: 900GiB}}", "memory"), ("{se: {volumes: {data: 90TiB}}}", "disk")],
)
def test_what_does_not_fit_is_refused_before_anything_starts(home: Home, machines: str, told: str) -> None:
    file = home.folder / "site.yaml"
    file.write_text(f"site: huge\nmachines: {machines}\n")
    assert told in home.refused("up", file)
    assert home.rows() == []
    assert home.namespaces() == []
    assert home.folders("volumes") == []


def test_up_killed_at_any_moment_converges_and_destroy_leaves_nothing(home: Home) -> None:
    file = home.folder / "site.yaml"
    file.write_text("site: tough\nmachines:\n  ui: {count: 2}\n  se: {}\n")
    home.ok("up", file, timeout_s=UP_S)
    home.ok("destroy", "-y", file)
    assert_nothing_is_left(home)
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(KILLS):
        after_s = moments.uniform(0.2, 8.0)
        with home.start("up", file) as process:
            time.sleep(after_s)
            process.kill()
        if moments.random() < 0.4:
            home.ok("destroy", "-y", file)
    done = home.run("up", file)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert {one["state"] for one in status(home).values()} == {"ready"}
    assert len(home.rows()) == 3
    home.ok("destroy", "-y", "tough")
    assert_nothing_is_left(home)


def assert_nothing_is_left(home: Home) -> None:
    """No domain, process, namespace, volume, key or file of a site."""
    eventually(lambda: home.processes() == home.folders("domains") == [])
    assert home.rows() == []
    assert home.namespaces() == []
    assert [name for name in home.folders("sites") if not name.endswith(".lock")] == []
    volumes = (path for path in (home.places.state / "volumes").rglob("*") if path.is_file())
    assert [path for path in volumes if path.suffix != ".lock"] == []
