"""What `xl` prints, read; and the configuration that it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.cli.table import xl_list
from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.domain.config import read_config
from gridvisor.domain.model import Domain, OnEnd, Vif
from gridvisor.kernel.xen import XenPack
from gridvisor.monitor.protocol import Attachment, Guest, Nic, State, VolumeUse
from gridvisor.monitor.xen.config import xl_config
from gridvisor.monitor.xen.listing import parse_list, state_of
from gridvisor.monitor.xen.monitor import XenMonitor
from gridvisor.run.command import Command, Result
from gridvisor.run.target import checked

DATA = Path(__file__).parents[1] / "data/xl"
ID = "11111111-2222-3333-4444-000000000001"


def test_a_list_is_read() -> None:
    dom0, first, second = parse_list((DATA / "list-v-4.20.txt").read_text())
    assert (dom0.name, dom0.id, dom0.memory_mib, dom0.vcpus, dom0.cpu_s) == ("Domain-0", 0, 512, 2, 73.0)
    assert (first.state, first.uuid) == (State.RUNNING, ID)
    assert (second.state, second.id) == (State.PAUSED, 5)


def test_a_short_list_is_read_and_printed_as_xl_does() -> None:
    text = (DATA / "list-4.20.txt").read_text()
    assert [row.name for row in parse_list(text)] == ["Domain-0", "t1", "t5"]
    monitor = XenMonitor(Dom0(list=text), lambda: XenPack("0", "6.12", "4.20", Path("/pack")))
    # A blocked domain waits for something, and is shown as one that runs.
    assert xl_list(monitor.list()) + "\n" == text.replace("-b----", "r-----")


@pytest.mark.parametrize(
    ("line", "name", "state"),
    [
        ("(null)                                       5     0     1     --ps-d      10.2", "(null)", State.DYING),
        ("a b                                         12    64     1     ----c-       1.0", "a b", State.CRASHED),
        (f"{'n' * 50}   7  128     1     ---s--     123.4", "n" * 50, State.SHUTDOWN),
        ("idle                                         3   128     4     ------       0.0", "idle", State.RUNNING),
    ],
)
def test_a_line_of_any_domain_is_read(line: str, name: str, state: State) -> None:
    [row] = parse_list(f"Name                 ID   Mem VCPUs\tState\tTime(s)\n{line}\n")
    assert (row.name, row.state) == (name, state)


def test_flags_have_an_order() -> None:
    assert state_of("--psc-") is State.CRASHED


@pytest.mark.parametrize("text", ["", "xl: command not found", "Name  ID\nwhat is this"])
def test_what_is_no_list_is_told(text: str) -> None:
    with pytest.raises(ToolOutput):
        parse_list(text)


def test_a_guest_becomes_a_configuration_that_xl_can_read() -> None:
    guest = Guest(
        Domain("kiam.ce", memory_mib=256, vcpus=2, vifs=(Vif(bridge="site"),), hostname="ce", extra="single"),
        (
            Attachment(VolumeUse.ROOT, Path("/dev/vg0/ce-disk"), writable=True),
            Attachment(VolumeUse.SWAP, Path("/dev/vg0/ce-swap"), writable=True),
            Attachment(VolumeUse.IDENTITY, Path("/var/lib/gridvisor/ce.tar"), writable=False),
        ),
        nics=(Nic("00:16:3e:00:00:01", "gv-1"),),
        identity_id="beef",
    )
    text = xl_config(
        guest, uuid=ID, kernel="/k/vmlinux", ramdisk="/k/initramfs", script="our-disk", parameters=("panic=1",)
    )
    assert text.startswith("# Made by gridvisor")
    read = read_config(text, "kiam.ce.cfg").domain
    assert (read.name, read.memory_mib, read.vcpus, read.kernel, read.other["uuid"]) == (
        *("kiam.ce", 256, 2, "/k/vmlinux", ID),
    )
    assert read.extra == (
        "console=hvc0 quiet systemd.show_status=error panic=1"
        " gridvisor.root=xvda gridvisor.identity=xvdc:beef gridvisor.swap=xvdb single"
    )
    assert [(disk.vdev, disk.writable, disk.script) for disk in read.disks] == [
        ("xvda", True, "our-disk"),
        ("xvdb", True, "our-disk"),
        ("xvdc", False, "our-disk"),
    ]
    assert [(vif.mac, vif.bridge, vif.vifname) for vif in read.vifs] == [("00:16:3e:00:00:01", "site", "gv-1")]
    assert read.on_crash is OnEnd.PRESERVE, "a crashed domain is to be seen"


class Dom0:
    """A dom0 whose Xen has these domains, none of them ours; every other command fails as `said`."""

    name = "dom0"

    def __init__(self, *, list: str, said: str = "") -> None:
        self._list = list
        self._said = said

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        if any("xl list -v" in word for word in command.argv):
            mark = "=== gridvisor ===\n"
            return Result(command, 0, f"{self._list}{mark}{mark}", "", 0.0, self.name)
        if any("xl create" in word for word in command.argv):
            return checked(Result(command, 3, "", self._said, 0.0, self.name), check=check)
        return Result(command, 0, "", "", 0.0, self.name)


def _pack() -> XenPack:
    return XenPack("0", "", "", Path("/pack"))


def test_nobody_elses_domain_is_touched() -> None:
    monitor = XenMonitor(Dom0(list=(DATA / "list-v-4.20.txt").read_text()), _pack)  # type: ignore[arg-type]
    for name in ("Domain-0", "t1"):
        for verb in (monitor.destroy, monitor.shutdown, monitor.reboot, monitor.pause, monitor.unpause, monitor.guest):
            with pytest.raises(Refused, match="not touched"):
                verb(name)
    with pytest.raises(Refused, match="'t1' exists"):
        monitor.create(Guest(Domain("t1"), ()))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            'libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 6:Domain with name "a" already exists.',
            "taken",
        ),
        ("xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory", "free memory"),
        ("script: losetup: /dev/vdz: failed to set up loop device: No such file or directory", "/dev/vdz"),
        ("script: Could not find bridge device nobr", "nobr"),
        ("/etc/xen/a.cfg is somebody else's", "/etc/xen/a.cfg"),
    ],
)
def test_why_a_domain_cannot_be_created_is_told(said: str, reason: str) -> None:
    empty = "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
    monitor = XenMonitor(Dom0(list=empty, said=said), _pack)  # type: ignore[arg-type]
    guest = Guest(Domain("a"), (Attachment(VolumeUse.ROOT, Path("/dev/vg0/a-disk"), writable=True),))
    with pytest.raises(Refused, match=reason):
        monitor.create(guest)
