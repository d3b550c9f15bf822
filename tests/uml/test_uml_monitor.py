"""What only a real UML guest can show: its sandbox, its console, and that nothing is left whoever is killed when."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import UmlBench, eventually
from gridvisor.core.errors import ExitCode, GridvisorError, Refused, SystemSaidNo
from gridvisor.domain.model import OnEnd
from gridvisor.monitor.protocol import Attachment, Guest, State, VolumeUse
from gridvisor.monitor.uml.monitor import connect

pytestmark = pytest.mark.uml

KILLS = 12


@pytest.fixture
def bench(uml_bench: UmlBench):
    yield uml_bench
    for row in uml_bench.monitor.list():
        uml_bench.monitor.destroy(row.name)
    eventually(lambda: processes_of(uml_bench.places.state) == [])


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that name a folder: keepers, sandboxes and kernels of its guests."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text and int(path.parent.name) != os.getpid():
            found.append(text)
    return found


def kernel_pid(bench: UmlBench, name: str) -> int:
    """The process that is the guest's kernel, below the keeper of this very domain."""
    (keeper,) = pids_of(bench.places.state / "domains" / name, "keeper.py")
    below, kernels = [keeper], []
    while below:
        folder = Path("/proc") / str(below.pop())
        below += [int(child) for child in (folder / "task" / folder.name / "children").read_text().split()]
        if (folder / "exe").readlink().name == "linux.uml":
            kernels.append(int(folder.name))
    assert kernels, f"no kernel of '{name}' is running"
    return kernels[0]


def test_the_sandbox_holds_no_file_of_the_host_and_no_capability(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a"))
    pid = kernel_pid(bench, "a")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    seen = {path.name for path in Path(f"/proc/{pid}/root").iterdir()}
    assert seen == {"usr", "lib", "lib64", "proc", "dev", "tmp", "vm", "boot", "disk"}
    assert Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()


def test_the_console_takes_and_gives_and_is_logged(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a"))
    bench.wait_for("a", "tiny guest is up")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        connect(console, bench.monitor.console("a").socket)
        console.sendall(b"echo $((6*7))-here\n")
        heard = b""
        while b"42-here" not in heard:
            assert select.select([console], [], [], 20)[0], heard
            heard += console.recv(65536)
    assert "42-here" in bench.said("a")
    assert bench.monitor.console("a").socket.stat().st_mode & 0o777 == 0o600


def test_a_guest_outlives_the_command_that_started_it(bench: UmlBench) -> None:
    run_creator(bench, "a")
    assert [row.name for row in bench.monitor.list()] == ["a"]
    bench.wait_for("a", "tiny guest is up")


def test_what_a_crashed_guest_said_is_kept(bench: UmlBench) -> None:
    row = bench.monitor.create(bench.guest("a"))
    bench.crash("a")
    eventually(lambda: bench.monitor.list()[0].state is State.CRASHED)
    assert "Kernel panic" in bench.said("a")
    bench.monitor.destroy("a")
    assert "Kernel panic" in (bench.places.state / "logs" / f"a-{row.id}.console.log").read_text(errors="replace")


def test_a_guest_whose_process_is_killed_is_seen_as_crashed(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a"))
    os.kill(kernel_pid(bench, "a"), signal.SIGKILL)
    eventually(lambda: bench.monitor.list()[0].state is State.CRASHED)


def test_a_killed_keeper_takes_its_guest_along_and_leaves_a_crash(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a"))
    (keeper,) = pids_of(bench.places.state, "keeper.py")
    os.kill(keeper, signal.SIGKILL)
    eventually(lambda: bench.monitor.list()[0].state is State.CRASHED)
    eventually(lambda: processes_of(bench.places.state) == [])
    bench.monitor.create(bench.guest("a"))
    assert bench.monitor.list()[0].state is State.RUNNING


def pids_of(folder: Path, word: str) -> list[int]:
    """Processes whose command line names `folder` and `word`."""
    found = subprocess.run(["pgrep", "-f", f"{word}.*{folder}"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def test_on_reboot_destroy_ends_a_guest_that_reboots(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a", on_reboot=OnEnd.DESTROY))
    bench.wait_for("a", "tiny guest is up")
    bench.type_in("a", "reboot\n")
    eventually(lambda: not bench.monitor.list())


def test_on_poweroff_restart_starts_it_again_even_by_another_name(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a", on_poweroff=OnEnd.RESTART))
    bench.wait_for("a", "tiny guest is up")
    since_s = bench.monitor.list()[0].since_s
    bench.monitor.rename("a", "b")
    time.sleep(10)  # a guest that ends sooner is not started again
    bench.type_in("b", "poweroff\n")
    eventually(lambda: bool(bench.monitor.list()) and bench.monitor.list()[0].since_s > since_s)


def test_what_a_guest_wrote_is_there_after_its_power_failed(bench: UmlBench) -> None:
    bench.monitor.create(bench.guest("a"))
    bench.wait_for("a", "tiny guest is up")
    bench.type_in("a", "echo kept > /root/f; /bin/busybox sync; echo synced-$((1+1))\n")
    bench.wait_for("a", "synced-2")
    bench.monitor.destroy("a")
    bench.monitor.create(bench.guest("a"))
    bench.wait_for("a", "tiny guest is up")
    bench.type_in("a", "cat /root/f\n")
    bench.wait_for("a", "\nkept")


def test_a_root_that_is_no_file_system_crashes_with_a_reason(bench: UmlBench, tmp_path: Path) -> None:
    noise = tmp_path / "noise.img"
    noise.write_bytes(os.urandom(1 << 20))
    guest = bench.guest("a")
    bench.monitor.create(Guest(guest.domain, (Attachment(VolumeUse.ROOT, noise, True),)))
    eventually(lambda: bench.monitor.list()[0].state is State.CRASHED)
    assert "gridvisor: cannot mount the root device" in bench.said("a")


def test_a_guest_with_too_little_memory_says_so(bench: UmlBench) -> None:
    guest = bench.guest("a")
    tight = Guest(type(guest.domain)("a", memory_mib=4), guest.volumes)
    with pytest.raises(SystemSaidNo, match="'a' did not start"):
        bench.monitor.create(tight)
    assert list(bench.monitor.list()) == []
    eventually(lambda: processes_of(bench.places.state) == [])


def test_a_command_before_the_guest_that_fails_is_told(bench: UmlBench) -> None:
    guest = bench.guest("a")
    broken = Guest(guest.domain, guest.volumes, before=(("false", "make a tap"),))
    with pytest.raises(GridvisorError, match="make a tap") as caught:
        bench.monitor.create(broken)
    assert caught.value.exit_code is ExitCode.INFRASTRUCTURE
    assert list(bench.monitor.list()) == []
    bench.monitor.create(guest)


def test_what_comes_after_a_guest_runs_however_it_ended(bench: UmlBench, tmp_path: Path) -> None:
    for way in ("destroyed", "powered-off", "keeper-killed"):
        mark = tmp_path / way
        guest = bench.guest("a")
        bench.monitor.create(Guest(guest.domain, guest.volumes, after=(("touch", str(mark)),)))
        bench.wait_for("a", "tiny guest is up")
        if way == "powered-off":
            bench.type_in("a", "poweroff\n")
        elif way == "keeper-killed":
            os.kill(pids_of(bench.places.state, "keeper.py")[0], signal.SIGKILL)
            eventually(lambda: bench.monitor.list()[0].state is State.CRASHED)
            bench.monitor.destroy("a")
        else:
            bench.monitor.destroy("a")
        eventually(mark.exists)
        eventually(lambda: not bench.monitor.list())


CREATOR = """
import sys
from pathlib import Path
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.kernel.uml import uml_pack
from gridvisor.monitor.uml.monitor import UmlMonitor
from gridvisor.run.local import Local
sys.path.insert(0, sys.argv[4])
from conftest import UmlBench
cache, state, image = map(Path, sys.argv[1:4])
pack = uml_pack(Places(cache, cache / "unused"), Bus(), target=Local())
bench = UmlBench(UmlMonitor(Places(cache, state), lambda: pack), Places(cache, state), image)
print("ready", flush=True)
bench.monitor.create(bench.guest(sys.argv[5]))
"""


def start_creator(bench: UmlBench, name: str) -> subprocess.Popen[str]:
    arguments = [str(bench.places.cache), str(bench.places.state), str(bench.image), str(Path(__file__).parent.parent)]
    creator = subprocess.Popen(
        [sys.executable, "-c", CREATOR, *arguments, name], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert creator.stdout is not None
    assert creator.stdout.readline() == "ready\n"
    return creator


def run_creator(bench: UmlBench, name: str) -> None:
    with start_creator(bench, name) as creator:
        assert creator.wait(60) == 0


@pytest.mark.parametrize("number", range(KILLS))
def test_a_create_killed_at_any_moment_leaves_nothing_and_may_be_said_again(bench: UmlBench, number: int) -> None:
    luck = random.Random(number)
    with start_creator(bench, "a") as creator:
        time.sleep(luck.uniform(0, 0.08))
        creator.kill()
    with suppress(Refused):  # it was killed after the domain was there for good
        bench.monitor.create(bench.guest("a"))
    assert [(row.name, row.state) for row in bench.monitor.list()] == [("a", State.RUNNING)]
    bench.monitor.destroy("a")
    eventually(lambda: list((bench.places.state / "domains").iterdir()) == [])
