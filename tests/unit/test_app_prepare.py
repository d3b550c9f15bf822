"""A Debian machine is made a Xen host: what is to be done by what it says of itself, and done by whoever is killed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gridvisor.app.prepare import step as steps_module
from gridvisor.app.prepare.facts import Facts, facts_of
from gridvisor.app.prepare.step import Wish, reboot_why, steps
from gridvisor.app.prepare.story import carry_out
from gridvisor.app.xen_needs import TOOLS, XEN
from gridvisor.core.errors import GridvisorError, Refused, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.run.command import Command, Result, Unreachable, script
from gridvisor.run.local import Local
from gridvisor.run.target import checked

DATA = Path(__file__).parent.parent / "data/prepare"
# A Debian 13 that was just installed, with an empty second disk, and the same one once it was prepared and booted anew.
BARE = (DATA / "bare.txt").read_text()
PREPARED = (DATA / "prepared.txt").read_text()
WHAT = ("packages", "autoballoon", "volume group vg0", "thin pool", "boot menu")


def facts(said: str = BARE) -> Facts:
    return facts_of(said, where="dom0")


def to_do(seen: Facts, wish: Wish = Wish()) -> tuple[str, ...]:  # noqa: B008
    return tuple(step.what for step in steps(seen, wish))


def test_the_recordings_are_understood() -> None:
    bare, prepared = facts(), facts(PREPARED)
    assert (bare.os_id, bare.architecture, bare.loader, bare.is_dom0) == ("debian", "amd64", "grub-pc", False)
    assert [(one.name, one.path, one.signatures) for one in bare.named] == [("/dev/vdb", "/dev/vdb", ())]
    assert not bare.is_secure_boot
    assert not bare.is_unfinished
    assert (prepared.is_dom0, prepared.has_xen, prepared.has_group, prepared.guests) == (True, True, True, 0)
    assert prepared.memory_mib > 2900
    assert prepared.tools == frozenset(TOOLS)
    assert prepared.boot_id != bare.boot_id


def test_a_bare_machine_needs_everything_and_a_prepared_one_nothing() -> None:
    assert to_do(facts()) == WHAT
    assert to_do(facts(PREPARED)) == ()
    assert reboot_why(facts(), Wish()) == "into Xen"
    assert reboot_why(facts(PREPARED), Wish()) is None


def test_only_what_is_missing_is_installed() -> None:
    (install,) = [step for step in steps(facts(), Wish()) if step.what == "packages"]
    missing = {package for tool, (package, _) in TOOLS.items() if tool not in facts().tools}
    assert XEN in missing
    assert "iproute2" not in missing
    assert missing == set(install.does.removeprefix("install ").split(", "))
    assert missing <= set(install.command.argv)


def test_xen_is_installed_where_its_tools_alone_are() -> None:
    seen = replace(facts(), tools=frozenset(TOOLS))
    (install,) = [step for step in steps(seen, Wish()) if step.what == "packages"]
    assert install.does == f"install {XEN}"


def test_an_installation_that_was_cut_off_is_finished() -> None:
    assert to_do(replace(facts(PREPARED), is_unfinished=True)) == ("packages",)


def test_a_dom0_of_another_making_is_left_as_it_is() -> None:
    """One that boots without GRUB, with a Xen that is not Debian's."""
    seen = replace(facts(PREPARED), has_xen=False, loader=None, menu="", xen_words="placeholder dom0_mem=4G")
    assert to_do(seen) == ()
    assert reboot_why(seen, Wish()) is None


def test_a_memory_that_dom0_has_is_kept_unless_another_is_asked_for() -> None:
    seen = facts(PREPARED)
    assert to_do(seen, Wish(1024)) == ()
    assert to_do(seen, Wish(1536)) == ("boot menu",)
    assert reboot_why(seen, Wish(1536)) == "for dom0's memory to be 1536M,max:1536M; it is 1024M,max:1024M"


def test_a_dom0_that_was_not_booted_since_its_menu_changed_is_to_be() -> None:
    seen = replace(facts(PREPARED), xen_words="placeholder")
    assert (to_do(seen), reboot_why(seen, Wish())) == (
        (),
        "for dom0's memory to be 1024M,max:1024M; it is all that guests leave",
    )


@pytest.mark.parametrize(("told", "is_to_do"), [("off", False), ("0", False), ("auto", False), ("on", True)])
def test_autoballoon_is_switched_off_where_it_is_on(told: str, is_to_do: bool) -> None:
    """xl.conf(5): auto is off where dom0 has a fixed memory, as it has here."""
    assert ("autoballoon" in to_do(replace(facts(PREPARED), autoballoon=told))) == is_to_do


def test_each_disk_gets_a_pool_with_a_name_of_its_own() -> None:
    seen = facts()
    first = seen.named[0]
    second = replace(next(one for one in seen.devices if one.path == first.path), path="/dev/vdc")
    seen = replace(
        seen,
        devices=(*seen.devices, second),
        named=(first, replace(first, name="/dev/vdc", path="/dev/vdc"), replace(first, name="/dev/disk/by-id/again")),
        volume_names=frozenset(("thin-vdb",)),
    )
    does = [step.does.split(",")[0] for step in steps(seen, Wish()) if step.what == "thin pool"]
    assert does == ["vg0/thin-vdb-2", "vg0/thin-vdc"]


def test_a_volume_group_of_somebodys_own_making_is_enough() -> None:
    assert to_do(replace(facts(), named=(), has_group=True)) == ("packages", "autoballoon", "boot menu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"os_id": "ubuntu", "os_name": "Ubuntu 24.04"}, "no Debian but 'Ubuntu 24.04'"),
        ({"architecture": "arm64"}, "'arm64'"),
        ({"is_root": False}, "not root"),
        ({"loader": None}, "GRUB"),
        ({"is_secure_boot": True}, "Secure Boot"),
        ({"modules": frozenset(("bridge",)), "kernel": "6.12-cloud-amd64"}, "6.12-cloud-amd64 has no xen-blkback"),
        ({"memory_mib": 2100}, "2100 MiB"),
        ({"named": ()}, "/dev/vdb"),
    ],
)
def test_a_machine_that_it_cannot_be_done_to_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(Refused) as refused:
        steps(replace(facts(), **change), Wish())  # type: ignore[arg-type]
    assert words in refused.value.message


def test_a_disk_that_is_not_empty_is_named_with_what_is_on_it() -> None:
    seen = facts()
    with pytest.raises(Refused, match=r"Disk '/dev/x' \(/dev/vda\) is the disk of the system itself") as refused:
        steps(replace(seen, named=(replace(seen.named[0], name="/dev/x", path="/dev/vda"),)), Wish())
    assert "partition table (dos)" in refused.value.message
    assert "/dev/vda1 is mounted at /" in refused.value.message


def test_all_reasons_are_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        steps(replace(facts(), architecture="arm64", loader=None), Wish(100))
    assert refused.value.message.count("\n  - ") == 3


def test_half_of_what_it_says_is_not_taken_for_a_machine() -> None:
    with pytest.raises(ToolOutput):
        facts(BARE[: len(BARE) // 2])


class Machine:
    """The machine of the recordings, to which the steps are really told: what each of them changes is changed.

    At the command number `fails_at` the connection is lost, before the command has had its effect or after.
    """

    name = "dom0"

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.commands: list[str] = []
        self.fails_at: int | None = None
        self.is_lost_after = False

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """See Target.run."""
        what = self._named(command.argv)
        self.commands.append(what)
        is_lost = len(self.commands) == self.fails_at
        if not is_lost or self.is_lost_after:
            self._do(what)
        if is_lost:
            raise Unreachable("'dom0' cannot be reached")
        return checked(Result(command, 0, self._says(), "", 0.0, self.name), check=check)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        """See Target.put."""
        raise AssertionError

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        """See Target.get."""
        raise AssertionError

    def _named(self, argv: Sequence[str]) -> str:
        bodies = {
            steps_module._INSTALL: "packages",
            steps_module._AUTOBALLOON_OFF: "autoballoon",
            steps_module._JOIN: "volume group vg0",
            steps_module._POOL: "thin pool",
            steps_module._MENU: "boot menu",
        }
        return next((bodies[word] for word in argv if word in bodies), "look")

    def _do(self, what: str) -> None:
        needs = {"autoballoon": "packages", "thin pool": "volume group vg0", "boot menu": "packages"}
        assert needs.get(what, "look") in (*self.done, "look"), f"{what} comes too early"
        if what != "look":
            self.done.add(what)

    def _says(self) -> str:
        """Of each part what was recorded before or after; a disk in the group without a pool is in no recording."""
        parts, prepared = split(BARE), split(PREPARED)
        if "packages" in self.done:
            parts |= {name: prepared[name] for name in ("installed", "tools")}
        if "autoballoon" in self.done:
            parts["autoballoon"] = prepared["autoballoon"]
        if "boot menu" in self.done:
            parts["menu"] = prepared["menu"]
        if "volume group vg0" in self.done:
            disk = "disk /dev/vdb /dev/vdb"
            parts |= {name: prepared[name] for name in ("group", "devices", disk)}
            rows = [{"pv_name": "/dev/vdb", "vg_name": "vg0", "lv_name": ""}]
            parts["volumes"] = json.dumps({"report": [{"pvseg": rows}]})
        if "thin pool" in self.done:
            parts |= {name: prepared[name] for name in ("volumes", "names")}
        return "".join(f"\n::gridvisor {name}\n{text}\n" for name, text in parts.items())


def split(said: str) -> dict[str, str]:
    parts = (part.partition("\n") for part in said.split("\n::gridvisor ")[1:])
    return {name: text.strip("\n") for name, _, text in parts}


def prepare(machine: Machine) -> None:
    seen = facts_of(machine._says(), where="dom0")
    carry_out(machine, seen, Wish(1024), ["/dev/vdb"], bus=Bus())


def test_all_is_done_in_order_and_looked_at_once_more() -> None:
    machine = Machine()
    prepare(machine)
    assert machine.commands == [*WHAT, "look"]
    prepare(machine)
    assert machine.commands == [*WHAT, "look", "look"]


@pytest.mark.parametrize("is_lost_after", [False, True])
@pytest.mark.parametrize("fails_at", range(1, len(WHAT) + 2))
def test_killed_at_any_command_and_run_again_it_ends_the_same(fails_at: int, is_lost_after: bool) -> None:
    machine = Machine()
    machine.fails_at, machine.is_lost_after = fails_at, is_lost_after
    with pytest.raises(Unreachable):
        prepare(machine)
    prepare(machine)
    assert machine.done == set(WHAT)
    again = machine.commands[fails_at:]
    assert again == [*WHAT[fails_at - (0 if is_lost_after else 1) :], "look"]


def test_a_step_without_effect_is_no_success() -> None:
    machine = Machine()
    machine._do = lambda what: None  # type: ignore[method-assign]
    with pytest.raises(GridvisorError, match="is not as it should be"):
        prepare(machine)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (
            'a=1\n#autoballoon="auto"\n',
            'a=1\n#autoballoon="auto"\n\n# gridvisor host prepare: dom0 has a fixed memory.\nautoballoon="off"\n',
        ),
        (
            'a=1\n autoballoon = "on"\nb=1\n',
            'a=1\n# gridvisor host prepare; was: autoballoon = "on"\nautoballoon="off"\nb=1\n',
        ),
    ],
)
def test_of_xl_conf_that_one_line_is_changed(tmp_path: Path, was: str, now: str) -> None:
    file = tmp_path / "xl.conf"
    file.write_text(was)
    file.chmod(0o640)
    Local().run(script(steps_module._AUTOBALLOON_OFF, str(file)), timeout_s=10)
    assert file.read_text() == now
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_the_settings_of_grub_are_added_to_those_that_are_there() -> None:
    (menu,) = [step for step in steps(facts(), Wish(1024)) if step.what == "boot menu"]
    assert menu.command.stdin is not None
    source = f'set -e\nGRUB_CMDLINE_XEN_DEFAULT="noreboot"\n{menu.command.stdin.decode()}'
    said = subprocess.run(
        [shutil.which("sh") or "sh", "-c", f'{source}\necho "$GRUB_CMDLINE_XEN_DEFAULT, $XEN_OVERRIDE_GRUB_DEFAULT"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "noreboot dom0_mem=1024M,max:1024M, 1\n"
