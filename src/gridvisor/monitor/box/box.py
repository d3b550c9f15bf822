"""The box of this machine: made once, started, kept with all that runs in it, resumed, removed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path

from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError, Refused, TimedOut
from gridvisor.core.events import Bus
from gridvisor.core.files import locked, write_whole
from gridvisor.core.places import Places
from gridvisor.identity.keys import access_key, host_key, known_hosts_line
from gridvisor.identity.model import IdentityFile, IdentityFolder
from gridvisor.identity.tarball import write_identity
from gridvisor.image.recipe import Recipe
from gridvisor.image.store import Image
from gridvisor.kernel.xen import XenPack
from gridvisor.monitor.box.accelerator import accelerator
from gridvisor.monitor.box.qemu import GROUP, IDENTITY, ROOT, SERIAL_LOG, STATE, Hardware, Qmp, argv
from gridvisor.monitor.box.recipe import dom0
from gridvisor.monitor.last_words import last_words
from gridvisor.network.connect import ssh_argv
from gridvisor.network.way import Way
from gridvisor.run.command import Command, script
from gridvisor.run.detached import Detached
from gridvisor.run.ssh import Ssh, socket_folder
from gridvisor.run.target import Target
from gridvisor.storage.filling import data_runs

NAME = "box"
_RECORD, _QEMU_LOG = "box.json", "qemu.log"
_COLD_S, _RESUMED_S, _POWER_OFF_S = 240.0, 120.0, 120.0
_ASK_S = 60.0
_HOLD_S = 200.0  # libxl waits a minute for a guest that does not answer
_QEMU_S = 60.0
_COPY_S = 600.0
_WRITABLE = ("root", "group")  # the block nodes that a snapshot is of
# The disk shows a while after QEMU has it. It is forgotten before it goes, so that nothing waits for it.
_BLOCK_MIB = 4
_FILL = f"""\
device=$1 serial=$2
shift 2
for _ in $(seq 200); do
    for disk in /sys/block/sd*; do
        if grep -aqs "$serial" "$disk/device/vpd_pg80"; then
            while [ $# -gt 0 ]; do
                dd if="/dev/${{disk##*/}}" of="$device" bs={_BLOCK_MIB}M skip="$1" seek="$1" count="$2" \\
                    iflag=fullblock,direct oflag=direct conv=notrunc,fsync status=none
                shift 2
            done
            echo 1 >"$disk/device/delete"
            exit
        fi
    done
    sleep 0.05
done
echo "The disk '$serial' does not show." >&2
exit 1
"""
# Guests are suspended while the box is not there: to one that goes on, Xen says how long it slept, by a clock that it
# has from dom0 (Linux 6.12: timekeeping_resume(), xen_read_wallclock()). To log in to each and set its clock took three
# times as long as all the rest. Told are those that run and cannot be suspended, whose clocks stand still. Of the flags
# of `xl list`, the fifth says why a domain does not run.
_SUSPEND = """\
for id in $(xl list | awk 'NR > 2 && $5 ~ /^[r-][b-]----$/ { print $2 }'); do
    xl suspend "$id" >&2 || echo "$id" &
done
wait
"""
_GO_ON = """\
date -s "@$1" >&2
there=$(xl list | awk 'NR > 2 { print $2, $5 }') going=''
for id in $(echo "$there" | awk '$2 ~ /^---ss/ { print $1 }'); do
    xl resume "$id" >&2 &
    going="$going $!"
done
for one in $going; do
    wait "$one"
done
echo "$there" | awk '$2 ~ /^[r-][b-]----$/ { print $1 }'
"""
_WAS_UP = "was-up"  # in its folder: the line of qemu.pid when it answered
_UP = "test -e /run/gridvisor-box-is-up && xl list >/dev/null"


class BoxState(StrEnum):
    """What a box is doing; a saved one has its guests with it."""

    RUNNING = "running"
    SAVED = "saved"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Record:
    """What a box was made of, kept in its folder. `saved` says that it can be resumed, `held` that its guests are to go
    on then."""

    hardware: Hardware
    pack: XenPack
    identity_id: str
    port: int
    saved: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """A box as it was observed. `since_s` is when its QEMU began, since the epoch; `used_bytes` what its disks take."""

    state: BoxState
    hardware: Hardware
    xen: str
    port: int
    used_bytes: int
    since_s: float | None = None


class Box:
    """The box of a state folder; all commands may be killed at any moment and called again.

    `pack` and `image` give what it is made of, and are asked only when it is made.
    """

    def __init__(
        self, places: Places, bus: Bus, *, target: Target, pack: Callable[[], XenPack], image: Callable[[Recipe], Image]
    ) -> None:
        self._folder = places.state / NAME
        self._keys = places.state / "keys"
        self._bus = bus
        self._target = target
        self._pack = pack
        self._image = image
        self._qmp = Qmp(self._folder)
        self._qemu = Detached(self._folder / "qemu.pid")

    def up(self, wish: Hardware | None = None, *, ask_again: bool = True) -> bool:
        """Make the box if there is none, start or resume it, and return when its `xl` answers.

        True when clocks of guests stood still while it was not there; dom0's is right, and as a rule theirs are.

        `wish` is what a new one is to be; one that is there stays what it is. Without `ask_again`, one that has
        answered since it runs is not asked: whoever asks it something next is told. Raises TimedOut with the last words
        of its console.
        """
        with self._held():
            record = self._read() or self._make(wish)
            if self._qemu.pid() is not None:
                record = replace(record, saved=False)
                self._write(record)
                self._qmp.ask("cont")  # it stands still if a `down` was killed
                if ask_again or not self._was_up:
                    self._until_up(record, _COLD_S)
                if record.held:  # as a `down` left them that was killed
                    return self._go_on(record)
            elif record.saved:
                return self._resume(record)
            else:
                self._start(record)
            return False

    def down(self, *, keep: bool = True) -> None:
        """Stop the box: its guests are kept with all their memory, or power off with it. Fine when it is off."""
        with self._held():
            record = self._require()
            if self._qemu.pid() is None:
                if not keep and record.saved:
                    self._write(replace(record, saved=False))
                return
            if keep:
                self._save(record)
                return
            if record.held:
                self._go_on(record)
            self._power_off(record)

    def remove(self) -> None:
        """Stop the box as if its power failed, and remove it with all that is in it. Fine when there is none."""
        with self._held():
            self._qemu.stop()
            # The record goes first: without it there is no box, and what a killed removal leaves is overwritten.
            (self._folder / _RECORD).unlink(missing_ok=True)
            shutil.rmtree(self._folder)

    def status(self) -> Status | None:
        """The box as it is now; None when there is none."""
        record = self._read()
        return None if record is None else self._status(record)

    @property
    def dom0(self) -> Ssh:
        """dom0, as root. Raises Refused unless the box runs."""
        return self._ssh(self._require_running())

    def fill(self, image: Path, device: str, *, is_empty: bool) -> None:
        """See storage.filling.Fill: dom0 gets the image as a disk for so long, which spares it to decrypt it."""
        block_bytes = _BLOCK_MIB << 20
        runs = data_runs(image, block_bytes) if is_empty else [(0, -(-image.stat().st_size // block_bytes))]
        serial = f"gv-{hashlib.sha256(str(image).encode()).hexdigest()[:12]}"
        dom0 = self.dom0
        with self._qmp.lent(image, serial):
            dom0.run(script(_FILL, device, serial, *(str(word) for run in runs for word in run)), timeout_s=_COPY_S)

    def _ssh(self, record: Record) -> Ssh:
        return Ssh(
            host="127.0.0.1",
            port=record.port,
            user="root",
            sockets=socket_folder({}, uid=os.geteuid()),
            identity=access_key(self._keys).private_path,
            known_hosts=self._folder / "known_hosts",
            connect_timeout_s=5,
            via=self._target,
        )

    def login_argv(self, command: Sequence[str] = ()) -> list[str]:
        """The argv that opens ssh to dom0 for a person: a shell, or `command`. Raises Refused unless it runs."""
        return ssh_argv(
            Way(),
            IPv4Address("127.0.0.1"),
            port=self._require_running().port,
            key=access_key(self._keys).private_path,
            known_hosts=self._folder / "known_hosts",
            command=command,
        )

    def _make(self, wish: Hardware | None) -> Record:
        """All files of a new box; the record comes last."""
        hardware = wish or default_hardware(self._target)
        with self._bus.step("kernel pack", where=NAME):
            pack = self._pack()
        with self._bus.step("image", where=NAME):
            image = self._image(dom0(pack.xen))
        with self._bus.step("disks", where=NAME):
            # A copy, and no overlay: images come and go.
            self._run("qemu-img", "convert", "-O", "qcow2", str(image.path), str(self._folder / ROOT))
            self._run("qemu-img", "create", "-q", "-f", "qcow2", str(self._folder / GROUP), f"{hardware.group_mib}M")
        key = host_key(self._folder)
        identity_id = write_identity(
            (
                IdentityFile("/etc/hostname", f"{NAME}\n".encode()),
                IdentityFile("/etc/hosts", f"127.0.0.1 localhost {NAME}\n".encode()),
                IdentityFile("/etc/ssh/ssh_host_ed25519_key", key.private_pem, 0o600),
                IdentityFile("/etc/ssh/ssh_host_ed25519_key.pub", f"{key.public}\n".encode()),
                IdentityFile("/etc/ssh/sshd_config.d/host-key.conf", b"HostKey /etc/ssh/ssh_host_ed25519_key\n"),
                IdentityFolder("/root/.ssh", 0o700),
                IdentityFile("/root/.ssh/authorized_keys", f"{access_key(self._keys).public}\n".encode(), 0o600),
            ),
            self._folder / IDENTITY,
        )
        record = Record(hardware, pack, identity_id, port=0)
        self._write(record)
        return record

    def _start(self, record: Record) -> None:
        with self._bus.step("boot", where=NAME):
            self._until_up(self._launch(record), _COLD_S)

    def _resume(self, record: Record) -> bool:
        """Go on where it was kept, or boot when that cannot be: then False.

        What was kept is used up: were it resumed twice, disks would jump back in time.
        """
        record = replace(record, saved=False)
        self._write(record)
        with self._bus.step("resume", where=NAME):
            try:
                record = self._launch(record, resume=True)
                self._until_up(record, _RESUMED_S)
            except GridvisorError as error:
                self._bus.warn(f"It cannot be resumed, and boots as after a power cut: {error.message}", where=NAME)
                self._qemu.stop()
            else:
                return self._go_on(record)
        self._start(record)
        return False

    def _go_on(self, record: Record) -> bool:
        """Set dom0's clock and have its guests go on; true when some were not suspended, whose clocks stood still."""
        standing = self._ssh(record).run(script(_GO_ON, f"{time.time():.3f}"), timeout_s=_HOLD_S).stdout.split()
        self._write(replace(record, held=False))
        return bool(standing)

    def _save(self, record: Record) -> None:
        with self._bus.step("hold its guests", where=NAME):
            record = replace(record, held=True)
            self._write(record)
            try:
                not_held = self._ssh(record).run(script(_SUSPEND), timeout_s=_HOLD_S).stdout.split()
            except GridvisorError as error:  # it is kept as it is
                self._bus.warn(f"Its guests are not suspended: {error.message}")
            else:
                if not_held:
                    self._bus.warn(f"Not suspended, since they do not answer: domains {', '.join(not_held)}")
        with self._bus.step("keep", where=NAME):
            self._ssh(record).stop()
            self._qmp.ask("stop")
            with suppress(GridvisorError):  # there is none, unless an earlier try was killed
                self._qmp.job("snapshot-delete", {"tag": STATE, "devices": list(_WRITABLE)})
            self._qmp.job("snapshot-save", {"tag": STATE, "vmstate": "root", "devices": list(_WRITABLE)})
            self._write(replace(record, saved=True))
            self._qmp.ask("quit")
            self._qemu.wait_until_gone(Deadline.after(_QEMU_S))

    def _power_off(self, record: Record) -> None:
        with self._bus.step("power off", where=NAME):
            self._ssh(record).run(Command(("/bin/busybox", "poweroff")), timeout_s=_ASK_S, check=False)
            self._ssh(record).stop()
            try:
                self._qemu.wait_until_gone(Deadline.after(_POWER_OFF_S))
            except TimedOut:
                self._bus.warn("It does not power off; ended as if the power failed", where=NAME)
                self._qemu.stop()

    def _launch(self, record: Record, *, resume: bool = False) -> Record:
        """Start QEMU; the box with the port that it has now."""
        record = replace(record, port=_free_port(record.port), held=record.held and resume)
        self._write(record)
        key = host_key(self._folder)
        write_whole(self._folder / "known_hosts", known_hosts_line("127.0.0.1", key, port=record.port))
        self._ssh(record).stop()  # a connection to the box as it was would hang
        (self._folder / SERIAL_LOG).unlink(missing_ok=True)
        words = argv(record.hardware, record.pack, identity_id=record.identity_id, port=record.port, resume=resume)
        there = ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(self._folder))
        log = self._folder / _QEMU_LOG
        log.unlink(missing_ok=True)
        self._qemu.start(self._target, (*there, *words), log=log)
        return record

    def _until_up(self, record: Record, seconds: float) -> None:
        ssh = self._ssh(record)

        def check() -> None:
            if self._qemu.pid() is None:
                raise GridvisorError(f"The box has ended. It said last:\n{self._last_words()}")
            try:
                if ssh.run(Command(("/bin/sh", "-c", _UP)), timeout_s=_ASK_S, check=False).status:
                    raise NotYet("dom0 answers, Xen's tools not yet")
            except GridvisorError as error:
                raise NotYet("dom0 does not answer") from error

        try:
            wait_until("the box is not up", check, Deadline.after(seconds), every_s=0.2)
        except TimedOut as error:
            raise TimedOut(f"{error.message}. It said last:\n{self._last_words()}") from error
        write_whole(self._folder / _WAS_UP, self._qemu.pid_file.read_text())

    @property
    def _was_up(self) -> bool:
        """Whether the box has answered since its QEMU was started."""
        noted = self._folder / _WAS_UP
        return noted.exists() and noted.read_text() == self._qemu.pid_file.read_text()

    def _last_words(self) -> str:
        logs = (self._folder / name for name in (SERIAL_LOG, _QEMU_LOG))
        return last_words("".join(log.read_text(errors="replace") for log in logs if log.exists()))

    def _status(self, record: Record) -> Status:
        pid = self._qemu.pid()
        state = BoxState.RUNNING if pid is not None else BoxState.SAVED if record.saved else BoxState.OFF
        disks = [self._folder / name for name in (ROOT, GROUP)]
        return Status(
            state,
            record.hardware,
            record.pack.xen,
            record.port,
            sum(disk.stat().st_blocks * 512 for disk in disks),
            self._qemu.pid_file.stat().st_mtime if pid is not None else None,
        )

    def _require(self) -> Record:
        if (record := self._read()) is None:
            raise Refused("There is no box.", hint="gridvisor host box up")
        return record

    def _require_running(self) -> Record:
        record = self._require()
        if self._qemu.pid() is None:
            raise Refused("The box does not run.", hint="gridvisor host box up")
        return record

    def _read(self) -> Record | None:
        try:
            told = json.loads((self._folder / _RECORD).read_text())
        except FileNotFoundError:
            return None
        pack = XenPack(**{**told["pack"], "folder": Path(told["pack"]["folder"])})
        return Record(
            Hardware(**told["hardware"]),
            pack,
            told["identity_id"],
            told["port"],
            told["saved"],
            told.get("held", False),
        )

    def _write(self, record: Record) -> None:
        write_whole(self._folder / _RECORD, json.dumps(asdict(record), indent=1, default=str))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the box alone: one command changes it at a time."""
        with locked(self._folder.with_name(f"{NAME}.lock")):
            self._folder.mkdir(exist_ok=True, mode=0o700)
            yield

    def _run(self, *words: str) -> None:
        self._target.run(Command(words), timeout_s=_COPY_S)


def default_hardware(target: Target) -> Hardware:
    """A box for a small site: 4 GiB, of which dom0 takes 512 MiB, and 20 GiB of volumes that take room as they fill."""
    return Hardware(
        memory_mib=4096, cpus=min(4, os.cpu_count() or 1), group_mib=20 << 10, accelerator=accelerator(target)
    )


def _free_port(wanted: int) -> int:
    """That port of 127.0.0.1, or another when it is taken, or 0."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            free: int = probe.getsockname()[1]
            return free
    raise GridvisorError("No port of 127.0.0.1 is free.")
