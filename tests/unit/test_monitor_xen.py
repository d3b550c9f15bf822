"""What `xl` prints, read; and the configuration that it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridvisor.cli.table import xl_list
from gridvisor.core.errors import Refused, SystemSaidNo, TimedOut, ToolOutput
from gridvisor.domain.config import read_config
from gridvisor.domain.model import Domain, OnEnd, Vif
from gridvisor.kernel.xen import XenPack
from gridvisor.monitor.protocol import Attachment, Guest, Nic, State, VolumeUse
from gridvisor.monitor.record import record_of
from gridvisor.monitor.xen.config import xl_config
from gridvisor.monitor.xen.info import parse_info
from gridvisor.monitor.xen.listing import parse_list, state_of
from gridvisor.monitor.xen.monitor import XenMonitor
from gridvisor.run.command import Command, CommandFailed, Result
from gridvisor.run.target import checked

DATA = Path(__file__).parents[1] / "data/xl"
HEAD = "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
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


VERSIONS = ("4.17", "4.20")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["list", "list-v"])
def test_domains_that_have_ended_are_read(kind: str, version: str) -> None:
    rows = {row.name: row for row in parse_list((DATA / f"{kind}-ended-{version}.txt").read_text())}
    assert rows["crashed"].state is State.CRASHED, "---sc-: it was shut down, since it crashed"
    assert rows["over"].state is State.SHUTDOWN
    assert rows["Domain-0"].state is State.RUNNING
    assert all(bool(row.uuid) is (kind == "list-v") for row in rows.values())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["list", "list-v"])
def test_a_domain_that_is_being_destroyed_has_no_name(kind: str, version: str) -> None:
    row = parse_list((DATA / f"{kind}-dying-{version}.txt").read_text())[-1]
    assert (row.name, row.state, row.memory_mib) == ("(null)", State.DYING, 0)


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
    """A dom0 whose Xen has these domains, none of them ours unless `looks` has notes; each change fails as `said`."""

    name = "dom0"

    def __init__(self, *, list: str = "", looks: str = "", said: str = "") -> None:
        self._looks = looks or f"{list}=== gridvisor ===\n=== gridvisor ===\n"
        self._said = said

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        body = command.argv[2]
        if any(word in body for word in ("xl create", "xl restore", 'xl "$@"')):
            return checked(Result(command, 3, "", self._said, 0.0, self.name), check=check)
        return Result(command, 0, self._looks if "xenstore-ls -f /vm" in body else "", "", 0.0, self.name)


def _pack() -> XenPack:
    return XenPack("0", "", "", Path("/pack"))


def test_nobody_elses_domain_is_touched() -> None:
    dom0 = Dom0(list=(DATA / "list-v-4.20.txt").read_text(), said='Domain with name "t1" already exists')
    monitor = XenMonitor(dom0, _pack)  # type: ignore[arg-type]
    for name in ("Domain-0", "t1"):
        for verb in (monitor.destroy, monitor.shutdown, monitor.reboot, monitor.pause, monitor.unpause, monitor.guest):
            with pytest.raises(Refused, match="not touched"):
                verb(name)
    with pytest.raises(Refused, match="'t1' exists"):
        monitor.create(Guest(Domain("t1"), (Attachment(VolumeUse.ROOT, Path("/dev/vg0/t1-disk"), writable=True),)))


# The whole of what `xl create -q` said, and what we make of it. What no file holds was printed by 4.17.7.
WHY = (
    ("create-name-taken-4.17.txt", "its name is taken"),
    ("create-too-small-4.17.txt", "less than its kernel takes"),
    ("create-no-memory-4.17.txt", "not enough free memory"),
    ("create-no-bridge-4.17.txt", "bridge does not exist.*nobr0"),
    ("create-no-disk-4.17.txt", "disk is not there.*/root/none.img"),
    ("create-no-kernel-4.17.txt", "kernel is not there.*/boot/none"),
    ("create-name-taken-4.20.txt", "its name is taken"),
    ("create-too-small-4.20.txt", "less than its kernel takes"),
    ("create-no-memory-4.20.txt", "not enough free memory"),
    ("create-no-bridge-4.20.txt", "bridge does not exist.*nobr0"),
    ("create-no-disk-4.20.txt", "disk is not there.*/root/none.img"),
    ("create-no-kernel-4.20.txt", "kernel is not there.*/boot/none"),
    ("Disk vdev=xvda failed to stat: /dev/vdz: No such file or directory", "disk is not there.*/dev/vdz"),
    (
        "script: Device /dev/vdd is mounted in a guest domain,\nand so cannot be mounted now.",
        "used by another domain.*/dev/vdd",
    ),
    ("neither hap nor shadow paging available", "paravirtual guests only"),
)


@pytest.mark.parametrize(
    ("said", "reason"), [*WHY, ("/etc/xen/a.cfg is somebody else's", "in its way.*/etc/xen/a.cfg")]
)
def test_why_a_domain_cannot_be_created_is_told(said: str, reason: str) -> None:
    said = (DATA / said).read_text() if said.endswith(".txt") else said
    with pytest.raises(Refused, match=reason) as refused:
        _create_where_xl_says(said)
    assert refused.value.hint


def test_a_failure_without_a_known_reason_names_the_command() -> None:
    with pytest.raises(CommandFailed) as failed:
        _create_where_xl_says("libxl: error: something\ngridvisor: status 3 of: xl create -q /etc/xen/a.cfg\n")
    assert failed.value.message.splitlines() == [
        "A command on 'dom0' failed with status 3:",
        "    xl create -q /etc/xen/a.cfg",
        "    | libxl: error: something",
    ]


def test_a_tool_that_hangs_is_named() -> None:
    with pytest.raises(TimedOut, match=r"(?s)on 'dom0' had not ended after 45 s.*\n    xl list -v$"):
        _create_where_xl_says("gridvisor: not ended within 45 s: xl list -v\n")


def test_a_dom0_that_lacks_what_guests_need_is_brought_it() -> None:
    """Its name is asked for by the command that creates: looking before would cost each create a second."""
    dom0 = Bare(list=HEAD)
    monitor = XenMonitor(dom0, _pack)  # type: ignore[arg-type]
    with pytest.raises(SystemSaidNo, match="'a' ended as soon as it was created"):
        monitor.create(Guest(Domain("a"), (Attachment(VolumeUse.ROOT, Path("/dev/vg0/a-disk"), writable=True),)))
    assert dom0.brought == {"/var/lib/gridvisor/kernels/0/vmlinux": "vmlinux"}


class Bare(Dom0):
    """One that has no kernel at first, and where every guest ends at once."""

    def __init__(self, *, list: str) -> None:
        super().__init__(list=list)
        self.brought: dict[str, str] = {}

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        if "xl create" not in command.argv[2]:
            return super().run(command, timeout_s=timeout_s, check=check)
        kernel = next(word for word in command.argv[-2].split() if word.endswith("/vmlinux"))
        return Result(command, 0, self._looks if kernel in self.brought else f"{kernel}\n", "", 0.0, self.name)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        self.brought[destination] = source.name


def _create_where_xl_says(said: str) -> None:
    monitor = XenMonitor(Dom0(list=HEAD, said=said), _pack)  # type: ignore[arg-type]
    monitor.create(Guest(Domain("a"), (Attachment(VolumeUse.ROOT, Path("/dev/vg0/a-disk"), writable=True),)))


def noted(line: str) -> str:
    """A list with one running domain that has this line for a note."""
    row = f"{'a':<40}     7   128     1     -b----      12.4 {ID}        -                -"
    return f"{HEAD}{row}\n=== gridvisor ===\n{ID} 1795647002.65\n=== gridvisor ===\n{line}\n"


NOTE = json.dumps({"name": "a", "uuid": ID, "guest": record_of(Guest(Domain("a"), ()))})
MAKING = NOTE.replace("{", '{"making": true, ', 1)


@pytest.mark.parametrize(
    ("line", "ours", "state"),
    [
        (NOTE, True, State.RUNNING),
        (MAKING, True, State.RUNNING),
        (f"left {MAKING}", True, State.CRASHED),
        ("", False, State.RUNNING),
        (NOTE[:40], False, State.RUNNING),
        ("[]", False, State.RUNNING),
    ],
)
def test_what_a_killed_command_or_a_power_cut_left_is_shown(line: str, ours: bool, state: State) -> None:
    [row] = XenMonitor(Dom0(looks=noted(line)), _pack).list()  # type: ignore[arg-type]
    assert (row.name, row.ours, row.state, row.since_s) == ("a", ours, state, 1795647002.65)


def test_half_a_domain_without_a_name_has_the_one_that_it_was_to_have() -> None:
    looks = noted(f"left {MAKING}").replace("\na     ", "\n(null)", 1)
    [row] = XenMonitor(Dom0(looks=looks), _pack).list()  # type: ignore[arg-type]
    assert (row.name, row.state) == ("a", State.CRASHED)


def test_a_saved_file_that_is_none_is_told() -> None:
    """By xl 4.20."""
    monitor = XenMonitor(Dom0(list=HEAD, said="Can't open restore file: No such file or directory\n"), _pack)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="cannot be restored: there is no such file"):
        monitor.restore("/root/none.save")
    magic = "File has wrong magic number - corrupt or for a different tool?\n"
    with pytest.raises(Refused, match="not a domain that was saved"):
        XenMonitor(Dom0(list=HEAD, said=magic), _pack).restore("/root/tiny.img")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "is_fixed"),
    [
        (("", ""), True),
        (("dom0_mem=512M,max:512M ", ""), False),
        (("autoballoon : off", "autoballoon : on"), False),
        (("autoballoon : off", 'autoballoon : "on"  # sic'), False),
        (("autoballoon : off", "autoballoon : 1"), False),
        (("autoballoon : off", "autoballoon : auto"), True),
        (("autoballoon : off", ""), True),
    ],
)
def test_it_is_known_whether_dom0_has_memory_of_its_own(change: tuple[str, str], is_fixed: bool) -> None:
    text = (DATA / "info-4.20.txt").read_text()
    assert change[0] in text
    info = parse_info(text.replace(*change))
    assert (info.is_fixed, info.facts["xen_version"], info.facts["host"]) == (is_fixed, "4.20.5-pre", "box")
    assert info.free_mib == int(info.facts["free_memory"]) > 1000


def test_info_of_an_older_xen_is_read() -> None:
    info = parse_info((DATA / "info-4.17.txt").read_text())
    assert (info.free_mib, info.is_fixed, info.facts["xen_version"]) == (1223, True, "4.17.5")


@pytest.mark.parametrize("text", ["", "free_memory : much", "xl: command not found"])
def test_what_tells_of_no_memory_is_no_info(text: str) -> None:
    with pytest.raises(ToolOutput):
        parse_info(text)


# What xl 4.20 said of changes that cannot be.
TOO_MUCH = (
    (
        "vcpu-set",
        "You are overcommmitting! You have 2 physical CPUs and want 7 vCPUs! Aborting, use --ignore-host to continue",
        "given 7: the host has not so many processors",
    ),
    (
        "vcpu-set",
        "libxl: error: libxl_domain.c:1871:libxl_set_vcpuonline: Domain 21:Requested 2 VCPUs, however maxcpus is 1!:"
        " Function not implemented\nlibxl_set_vcpuonline failed domid=21 max_vcpus=2, rc: -3",
        "at most those that it was created with",
    ),
    (
        "mem-set",
        "libxl: error: libxl_mem.c:278:libxl_set_memory_target: Domain 21:memory_dynamic_max must be less than or"
        " equal to memory_static_max\n\ncannot set domid 21 dynamic max memory to : 4000m",
        "given 7m: it may not have so much",
    ),
    (
        "mem-max",
        "libxl: error: libxl_mem.c:59:libxl_domain_setmaxmem: Domain 19:memory_static_max must be greater than or or"
        " equal to memory_dynamic_max: Success\ncannot set domid 19 static max memory to : 1m",
        "it has more than that",
    ),
)


@pytest.mark.parametrize(("verb", "said", "reason"), TOO_MUCH)
def test_a_change_that_cannot_be_is_refused(verb: str, said: str, reason: str) -> None:
    monitor = XenMonitor(Dom0(looks=noted(NOTE), said=said), _pack)  # type: ignore[arg-type]
    change = {"vcpu-set": monitor.set_vcpus, "mem-set": monitor.set_memory, "mem-max": monitor.set_max_memory}[verb]
    with pytest.raises(Refused, match=reason):
        change("a", 7)
