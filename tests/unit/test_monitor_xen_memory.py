"""The memory of guests, kept and brought back by the scripts for dom0, with an `xl` of words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import eventually
from gridvisor.core.errors import GridvisorError, Refused, SystemSaidNo, TimedOut, ToolOutput
from gridvisor.monitor.protocol import DomainRow, State
from gridvisor.monitor.xen import memory as module
from gridvisor.monitor.xen.memory import XenMemory, failures
from gridvisor.monitor.xen.monitor import MADE
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.run.local import Local

# Domains are files that hold their state; `xl save` writes that it has saved whom, and what it is told in `fails`.
XL = """\
#!/bin/sh
verb=$1
shift
[ "$1" != -p ] || shift
case $verb in
    save) name=$1 ;;
    restore) name=$(basename "$1" .save) ;;
    *) name=$1 ;;
esac
echo "$verb $name" >>{log}
if [ -e "{fails}/$verb.$name" ]; then
    . "{fails}/$verb.$name"
fi
case $verb in
    save) echo "memory of $name" >"$2"; echo paused >{domains}/$name ;;
    restore) [ "$(cat "$1")" = "memory of $name" ] && echo paused >{domains}/$name ;;
    unpause) echo running >{domains}/$name ;;
    resume) echo running >{domains}/$name ;;
    domid) [ -e {domains}/$name ] ;;
    destroy) ;;
    list)
        echo 'Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID'
        [ ! -e {fails}/half ] || echo '(null)       7   128     1     --p---      12.4 a0-1         -                -'
        ;;
esac
"""
NAMES = ("kiam.se", "kiam.mon")


class World:
    """A dom0 with two domains of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "domains", "fails", "xen", "notes", "locks", "console", "root"):
            (folder / name).mkdir()
        xl = folder / "bin/xl"
        xl.write_text(XL.format(log=folder / "log", fails=folder / "fails", domains=folder / "domains"))
        xl.chmod(0o755)
        self.log = folder / "log"
        self.log.write_text("")
        for name in NAMES:
            self.create(name)

    def create(self, name: str) -> None:
        uuid = f"{'a' if name.endswith('se') else 'b'}0-1"
        (self.folder / "domains" / name).write_text("running\n")
        (self.folder / f"xen/{name}.cfg").write_text(f"# Made by gridvisor, for {name}\n")
        note = json.dumps({"making": True, "name": name, "uuid": uuid, "guest": {}})
        (self.folder / f"notes/{name}.json").write_text(f"{note}\n{MADE}\n")
        (self.folder / f"notes/{uuid}.identity").write_text(f"identity of {name}")

    def destroy(self) -> None:
        for part in ("domains", "xen", "notes"):
            for file in (self.folder / part).iterdir():
                file.unlink()

    def fail(self, verb: str, name: str, script: str) -> None:
        (self.folder / f"fails/{verb}.{name}").write_text(f"{script}\n")

    @property
    def memory(self) -> XenMemory:
        places = {"root": "root", "configs": "xen", "notes": "notes", "locks": "locks", "consoles": "console"}
        return XenMemory(Local(), "site.kiam", **{key: str(self.folder / name) for key, name in places.items()})

    def states(self) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in (self.folder / "domains").iterdir()}

    def files(self) -> dict[str, str]:
        found = (path for part in ("xen", "notes") for path in (self.folder / part).iterdir())
        return {str(path.relative_to(self.folder)): path.read_text() for path in found}

    def kept(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder / "root")) for path in (self.folder / "root").rglob("*.save"))

    def hold(self, work: Callable[[], object] = lambda: None, *, longest_s: float = 20) -> None:
        with self.memory.hold("before", NAMES, longest_s=longest_s):
            work()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return World(tmp_path)


RUN = dict.fromkeys(NAMES, "running")


def test_all_are_paused_for_the_time_of_the_body_and_go_on_with_what_they_have_from_us(world: World) -> None:
    files = world.files()
    world.hold(lambda: world.folder.joinpath("seen").write_text(json.dumps(world.states())))
    assert json.loads((world.folder / "seen").read_text()) == dict.fromkeys(NAMES, "paused")
    assert world.states() == RUN
    assert world.kept() == ["site.kiam/before/kiam.mon.save", "site.kiam/before/kiam.se.save"]
    world.destroy()
    assert world.memory.bring_back("before", NAMES) == {}
    assert world.states() == RUN
    assert world.files() == files
    said = world.log.read_text().splitlines()
    assert [line for line in said if line.startswith("restore")] == ["restore kiam.se", "restore kiam.mon"]
    assert said.index("unpause kiam.se", said.index("restore kiam.se")) > said.index("restore kiam.mon")
    world.destroy()
    assert world.memory.bring_back("before", NAMES) == {}, "as often as one likes"


def test_without_domains_dom0_is_not_asked(world: World) -> None:
    with world.memory.hold("before", (), longest_s=1):
        pass
    assert world.memory.bring_back("before", ()) == {}
    assert world.memory.require_room(()) == 0
    assert world.log.read_text() == ""


def test_one_that_cannot_be_saved_lets_the_others_go_on(world: World) -> None:
    world.fail("save", "kiam.mon", "echo 'xc: error: Save failed (28 = No space left on device)' >&2; exit 1")
    with pytest.raises(CommandFailed, match=r"(?s)xl save -p kiam.mon.*No space left"):
        world.hold(lambda: pytest.fail("the body is not begun"))
    assert world.states() == RUN
    assert "unpause kiam.se" in world.log.read_text()


def test_a_body_that_fails_lets_all_go_on(world: World) -> None:
    def fail() -> None:
        raise ValueError("disk")

    with pytest.raises(ValueError, match="disk"):
        world.hold(fail)
    assert world.states() == RUN


def test_they_go_on_by_themselves_and_what_was_done_is_of_no_use(world: World) -> None:
    with pytest.raises(SystemSaidNo, match="too late, after 1 s"):
        world.hold(lambda: eventually(lambda: world.states() == RUN, seconds=20), longest_s=0.5)


def test_they_go_on_when_we_are_killed(world: World, tmp_path: Path) -> None:
    """At each of three moments: while memory is saved, while disks are kept, and as they go on."""
    for moment in ("save", "held", "unpause"):
        world.fail("save", "kiam.se", f"[ {moment} != save ] || {{ touch {tmp_path}/now; sleep 1; }}")
        world.fail("unpause", "kiam.se", f"[ {moment} != unpause ] || {{ touch {tmp_path}/now; sleep 1; }}")
        if not (child := os.fork()):
            try:
                world.hold(lambda: (tmp_path.joinpath("now").touch(), time.sleep(30)) if moment == "held" else None)  # noqa: B023
            finally:
                os._exit(1)
        eventually(tmp_path.joinpath("now").exists)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        world.memory.clear(())  # which waits for what goes on over there
        assert world.states() == RUN, moment
        assert world.kept() == []
        (tmp_path / "now").unlink()


def test_a_script_that_is_ended_lets_them_go_on(world: World) -> None:
    def end() -> None:
        ps = subprocess.run(["pgrep", "-f", str(world.folder / "locks")], capture_output=True, text=True, check=True)
        for pid in ps.stdout.split():
            if int(pid) not in (os.getpid(), os.getppid()):
                os.kill(int(pid), signal.SIGTERM)

    with pytest.raises(GridvisorError):
        world.hold(end)
    eventually(lambda: world.states() == RUN)


def test_what_cannot_be_restored_is_told_and_leaves_nothing_and_the_others_go_on(world: World) -> None:
    world.hold()
    world.destroy()
    (world.folder / "fails/half").touch()
    world.fail("restore", "kiam.se", "echo 'xc_domain_restore: Out of memory' >&2; exit 3")
    failed = world.memory.bring_back("before", NAMES)
    assert list(failed) == ["kiam.se"]
    assert "Xen has not enough free memory" in failed["kiam.se"]
    assert "destroy 7" in world.log.read_text(), "what has no name yet is known by its UUID"
    assert world.states() == {"kiam.mon": "running"}
    assert sorted(world.files()) == ["notes/b0-1.identity", "notes/kiam.mon.json", "xen/kiam.mon.cfg"]


def test_a_domain_that_is_there_and_a_file_of_somebody_else_are_left_alone(world: World) -> None:
    world.hold()
    (world.folder / "domains/kiam.mon").unlink()
    (world.folder / "xen/kiam.mon.cfg").write_text("name = 'mine'\n")
    before = world.files()
    failed = world.memory.bring_back("before", NAMES)
    assert "its name is taken" in failed["kiam.se"]
    assert "a configuration file is in its way" in failed["kiam.mon"]
    assert world.files() == before
    assert world.states() == {"kiam.se": "running"}


def test_memory_that_is_gone_is_told(world: World) -> None:
    world.hold()
    world.destroy()
    (world.folder / "root/site.kiam/before/kiam.se.save").unlink()
    assert world.memory.bring_back("before", NAMES) == {"kiam.se": "its memory is not in dom0 any more"}
    with pytest.raises(GridvisorError, match=r"there is no .*/after in dom0 any more"):
        world.memory.bring_back("after", NAMES)


def test_a_restore_that_is_ended_leaves_none_paused(world: World) -> None:
    world.hold()
    world.destroy()
    world.fail("restore", "kiam.mon", f"kill -TERM $(cat {world.folder}/pid); sleep 0.5")
    world.fail("restore", "kiam.se", f"ps -o ppid= -p $(ps -o ppid= -p $PPID) >{world.folder}/pid")
    with pytest.raises(GridvisorError):
        world.memory.bring_back("before", NAMES)
    assert world.states() == RUN


def test_cleared_is_all_but_what_is_asked_for(world: World) -> None:
    world.hold()
    other = world.folder / "root/site.other/before/other.se.save"
    other.parent.mkdir(parents=True)
    other.touch()
    half = world.folder / "root/site.kiam/half/kiam.se.save"
    half.parent.mkdir()
    half.touch()
    world.memory.clear(["before", "none"])
    assert len(world.kept()) == 3
    assert not half.exists()
    world.memory.clear(())
    assert world.kept() == ["site.other/before/other.se.save"]
    assert not (world.folder / "root/site.kiam").exists()
    world.memory.clear(())


class Df:
    """A dom0 with so much room."""

    name = "dom0"

    def __init__(self, said: str) -> None:
        self._said = said

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        return Result(command, 0, self._said, "", 0.0, self.name)


DF = "Filesystem  1024-blocks    Used Available Capacity Mounted on\n/dev/vda1       8000000 6000000   %d      75%% /\n"


def test_too_little_room_is_told_with_the_sum() -> None:
    rows = [DomainRow(name, 1, mib, 1, State.RUNNING, 0.0, 1.0) for name, mib in (("a.ce", 512), ("a.ui", 128))]
    enough_kib = (521 + 131 + 64) << 10
    assert XenMemory(Df(DF % enough_kib), "site.a").require_room(rows) == 652 << 20  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"2 guests: 652 MiB in all \(a.ce 521, a.ui 131\).* has 715 MiB free"):
        XenMemory(Df(DF % (enough_kib - 1)), "site.a").require_room(rows)  # type: ignore[arg-type]
    with pytest.raises(ToolOutput, match="df"):
        XenMemory(Df("df: no"), "site.a").require_room(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("", "xl did not say why"),
        (
            "libxl: error: restore: broken\ngridvisor: status 3 of: xl restore -p /a.save\n",
            "libxl: error: restore: broken",
        ),
        ("gridvisor: not ended within 560 s: xl restore -p /a.save\n", "A command on 'dom0' had not ended after 560 s"),
        ("Could not find bridge device gv-1\n", "its bridge does not exist"),
    ],
)
def test_why_is_told_in_a_line(told: str, why: str) -> None:
    failed = failures(f"=== gridvisor === a\n{told}=== gridvisor === b\nno\n", "dom0")
    assert failed["b"] == "no"
    assert why in failed["a"]
    assert "\n" not in failed["a"]
    assert failures("", "dom0") == {}


def test_a_name_that_could_be_a_path_is_refused(world: World) -> None:
    for verb in (lambda name: world.memory.bring_back(name, NAMES), lambda name: world.memory.clear([name])):
        with pytest.raises(Refused, match="is not a name"):
            verb("../x")


def test_an_xl_that_hangs_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOLD", module._HOLD.replace("within 560 xl save", "within 1 xl save"))
    world.fail("save", "kiam.mon", "sleep 20")
    with pytest.raises(TimedOut, match=r"(?s)not ended after 1 s.*xl save -p kiam.mon"):
        world.hold()
    assert world.states() == RUN
    assert "resume kiam.mon" in world.log.read_text()
