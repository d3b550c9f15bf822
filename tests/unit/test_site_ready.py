"""Whether a machine's services answer: the script that asks them in the guest, and the short look of `up`."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from gridvisor.app.host import Host
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.ready import Halted, ailment, wait_for_login
from gridvisor.core.deadline import Deadline
from gridvisor.core.errors import GridvisorError, SystemSaidNo, TimedOut
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.monitor.protocol import DomainRow, State
from gridvisor.run.command import SHELL, Command, Result, Unreachable
from gridvisor.site.check import SHIPPED
from gridvisor.site.machine import expand
from gridvisor.site.model import Site
from gridvisor.site.role import find_roles

READY = files("gridvisor.app.site").joinpath("ready.sh").read_text()
# Each unit has a file with the states that it is seen in one after another, and a file UNIT.start with those that it is
# in once it was started. The boot has ended, or the file `boot` has what timeout(1) says of each wait for that.
SYSTEMCTL = """\
cd "${0%/*}/units"
verb=$1
shift
[ "$1" != --no-block ] || shift
case $verb in
    is-active)
        for unit; do
            head -n 1 "$unit"
            [ "$(wc -l <"$unit")" = 1 ] || sed -i 1d "$unit"
        done ;;
    reset-failed) echo inactive >"$1" ;;
    start) echo "$1" >>../started; cp "$1.start" "$1" ;;
    status) echo "last words" ;;
    list-units) ;;
    is-system-running)
        echo "$1" >>../waits
        said=$(head -n 1 ../boot 2>/dev/null) || said=0
        sed -i 1d ../boot 2>/dev/null
        exit "$said" ;;
esac
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A folder of programs that stand for a guest's."""
    for name, text in (("systemctl", SYSTEMCTL), ("sleep", "exit 0\n")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "units").mkdir()
    (tmp_path / "started").touch()
    return tmp_path


def unit(guest: Path, name: str, *states: str, start: tuple[str, ...] = ("active",)) -> None:
    for file, seen in ((name, states), (f"{name}.start", start)):
        (guest / "units" / file).write_text("".join(f"{state}\n" for state in seen))


def ready(
    guest: Path, *units: str, again: bool = False, checks: tuple[str, ...] = ()
) -> tuple[int, list[str], list[str]]:
    """Status, lines, and which units were started."""
    done = subprocess.run(
        [*SHELL, READY, "sh", "again" if again else "", " ".join(units), *checks],
        env={"PATH": f"{guest}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line]
    return done.returncode, lines, (guest / "started").read_text().split()


def test_units_and_then_checks_are_waited_for(guest: Path) -> None:
    unit(guest, "a.service", "inactive", "activating", "active")
    unit(guest, "b.service", "active")
    check = f"test -e {guest}/seen || ! touch {guest}/seen"
    assert ready(guest, "a.service", "b.service", checks=("b answers", check)) == (
        0,
        ["waiting for a.service", "waiting: b answers", "ready"],
        [],
    )


def test_the_end_of_a_boot_is_waited_for_and_not_asked_for(guest: Path) -> None:
    unit(guest, "a.service", *["activating"] * 5, "active")
    (guest / "timeout").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (guest / "timeout").chmod(0o755)
    degraded = "1"
    (guest / "boot").write_text(f"124\n124\n{degraded}\n")
    assert ready(guest, "a.service") == (0, ["waiting for a.service", "ready"], [])
    assert (guest / "waits").read_text().split() == ["--wait"] * 3


def test_who_is_not_listened_to_any_more_ends(guest: Path) -> None:
    unit(guest, "a.service", "activating")
    process = subprocess.Popen(
        [*SHELL, READY, "sh", "", "a.service"], env={"PATH": f"{guest}:/usr/bin:/bin"}, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting for a.service\n"
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE


@pytest.mark.parametrize("states", [("failed",), ("activating", "failed")])
def test_a_unit_that_fails_ends_the_wait_with_its_last_words(guest: Path, states: tuple[str, ...]) -> None:
    unit(guest, "a.service", *states)
    status, lines, started = ready(guest, "a.service")
    assert (status, lines[-2:], started) == (1, ["failed a.service", "last words"], [])


def test_what_has_failed_or_was_stopped_is_started_again_and_nothing_else(guest: Path) -> None:
    unit(guest, "a.service", "failed", start=("activating", "active"))
    unit(guest, "b.service", "active")
    unit(guest, "c.service", "inactive")
    unit(guest, "d.service", "activating", "active")
    units = ("a.service", "b.service", "c.service", "d.service")
    assert ready(guest, *units, again=True) == (0, ["waiting for a.service", "ready"], ["a.service", "c.service"])


@pytest.mark.parametrize(
    "start", [("failed",), ("activating", "failed"), ("active", "failed"), ("active", "activating", "failed")]
)
def test_what_fails_again_ends_the_wait_even_if_it_seemed_to_run_at_first(guest: Path, start: tuple[str, ...]) -> None:
    unit(guest, "a.service", "failed", start=start)
    status, lines, started = ready(guest, "a.service", again=True)
    assert (status, lines[-2:], started) == (1, ["failed a.service", "last words"], ["a.service"])


class Guest:
    """Stands for ssh to a machine: says this of its units, or raises it."""

    def __init__(self, said: str | GridvisorError) -> None:
        self.said = said
        self.asked: Command | None = None

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        assert not check
        self.asked = command
        if isinstance(self.said, GridvisorError):
            raise self.said
        return Result(command, 0, self.said, "", 0.1, "mon")


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("active\nactive\nactive\n", ""),
        ("active\nreloading\nactive\n", ""),
        ("failed\nactive\nactive\n", "bdii.service is failed"),
        (
            "active\ninactive\nactivating\n",
            "prometheus.service is inactive, prometheus-node-exporter.service is activating",
        ),
        ("", "it does not answer"),
        ("active\n", "it does not answer"),
        (Unreachable("gone"), "it does not answer"),
        (TimedOut("slow"), "it does not answer"),
    ],
)
def test_a_machine_ails_when_a_unit_of_its_role_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | GridvisorError, what: str
) -> None:
    guest = Guest(said)
    monkeypatch.setattr(Deployment, "ssh", lambda *_, **__: guest)
    site = Site.model_validate({"site": "a", "machines": {"mon": {}}})
    machines = expand(site, find_roles((SHIPPED,)))
    deployment = Deployment(Host(Places(tmp_path / "c", tmp_path / "s"), Bus()), site, machines)
    assert ailment(machines[0], deployment) == what
    assert guest.asked is not None
    assert guest.asked.argv == ("systemctl", "is-active", *machines[0].role.services)


class Booting:
    """Stands for ssh to a machine that says these things one after another, the last one for ever."""

    def __init__(self, *said: GridvisorError | None) -> None:
        self.said = list(said)

    def run(self, command: Command, *, timeout_s: float) -> Result:
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        if said is not None:
            raise said
        return Result(command, 0, "", "", 0.1, "mon")


@pytest.fixture
def booting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Deployment, Callable[..., None]]:
    """A site of one machine, and what says how its sshd answers and whether the domain is there."""
    site = Site.model_validate({"site": "a", "machines": {"mon": {}}})
    deployment = Deployment(
        Host(Places(tmp_path / "c", tmp_path / "s"), Bus()), site, expand(site, find_roles((SHIPPED,)))
    )

    def say(*said: GridvisorError | None, there: bool = True) -> None:
        guest = Booting(*said)
        rows = {"mon": DomainRow("a.mon", 1, 128, 1, State.RUNNING, cpu_s=0, since_s=0)} if there else {}
        monkeypatch.setattr(Deployment, "ssh", lambda *_, **__: guest)
        monkeypatch.setattr(Deployment, "rows", lambda _: dict(rows))

    return deployment, say


def test_who_still_boots_is_waited_for(booting: tuple[Deployment, Callable[..., None]]) -> None:
    deployment, say = booting
    say(Unreachable("no sshd"), TimedOut("slow"), None)
    wait_for_login(deployment.machines[0], deployment, Deadline.after(30))


def test_the_wait_for_a_login_ends_when_the_guest_does_or_another_has_failed_or_time_is_up(
    booting: tuple[Deployment, Callable[..., None]],
) -> None:
    deployment, say = booting
    [machine] = deployment.machines
    say(Unreachable("no sshd"))
    with pytest.raises(TimedOut, match="no sshd"):
        wait_for_login(machine, deployment, Deadline.after(0))
    failed = threading.Event()
    failed.set()
    with pytest.raises(Halted):
        wait_for_login(machine, deployment, Deadline.after(30), failed)
    say(Unreachable("no sshd"), there=False)
    with pytest.raises(SystemSaidNo, match="ended"):
        wait_for_login(machine, deployment, Deadline.after(30))


def test_those_who_wait_share_a_look_and_a_machine_made_since_then_is_looked_at_anew(
    booting: tuple[Deployment, Callable[..., None]],
) -> None:
    deployment, say = booting
    say(None, there=False)
    assert deployment.rows_lately(60) == {}
    say(None)
    assert deployment.rows_lately(60) == {}
    assert list(deployment.rows_lately(0)) == ["mon"]
    deployment.rows_lately(60).clear()
    wait_for_login(deployment.machines[0], deployment, Deadline.after(30))
