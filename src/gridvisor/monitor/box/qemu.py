"""The words that start QEMU as a Xen host, and what is said to it while it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError
from gridvisor.kernel.xen import XenPack

QMP_SOCKET, SERIAL_LOG = "qmp.sock", "serial.log"
ROOT, GROUP, IDENTITY = "root.qcow2", "group.qcow2", "identity.tar"
STATE = "running"  # the tag of the snapshot that a box is resumed from
DOM0_MIB = 512
_JOB_S = 300.0
_LISTENS_S = 20.0
# Xen would fill all memory with zeros, and make each page resident by that: 24 s for 8 GiB under emulation. The rest
# is against faults of processors that an emulated one has not. Of Xen's usual scheduler, credit2, processors share a
# queue, for whose lock emulated ones wait long; credit has one for each.
_XEN = "bootscrub=0 spec-ctrl=no xpti=no sched=credit console=com1 com1=115200,8n1"
_LEAN = "mitigations=off init_on_alloc=0 apparmor=0 selinux=0 audit=0"  # without AppArmor, SELinux would be on
_LINUX = f"console=hvc0 quiet loglevel=3 {_LEAN} gridvisor.root=vda gridvisor.modules=vdc"
# Where processors are emulated and shared by all guests, units take minutes to start and to say that they are alive
# (systemd(1), "Kernel command line").
GUEST_PARAMETERS = (*_LEAN.split(), "systemd.default_timeout_start_sec=900s", "systemd.service_watchdogs=no")
# Xen cannot trust the clock of an emulated processor, and traps each look at it, of which a kernel has thousands in a
# second. QEMU's are the same on all processors (xl.cfg(5), tsc_mode).
GUEST_KEYS = {"tsc_mode": "native"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a box is: memory of the whole host, processors, the size of its volume group, and who emulates it."""

    memory_mib: int
    cpus: int
    group_mib: int
    accelerator: str


def argv(hardware: Hardware, pack: XenPack, *, identity_id: str, port: int, resume: bool) -> tuple[str, ...]:
    """The words for a box whose files are in the current folder; ssh of dom0 is at `port` of 127.0.0.1.

    Its network is restricted (qemu(1), -netdev user): nothing gets out, and nothing but ssh in. A box that is resumed
    must be given the same hardware as when it was kept.
    """
    # Without rdrand, dom0 and each guest wait two to three seconds for the kernel's first random numbers.
    cpu = "host" if hardware.accelerator == "kvm" else "qemu64,+rdrand"
    xen = f"dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus={hardware.cpus} {_XEN}"
    linux = f"{_LINUX} gridvisor.identity=vdb:{identity_id}"
    return (
        *("qemu-system-x86_64", "-name", "gridvisor-box", "-M", "q35", "-accel", hardware.accelerator, "-cpu", cpu),
        *("-smp", str(hardware.cpus), "-m", str(hardware.memory_mib)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-kernel", str(pack.hypervisor), "-append", xen),
        # Of the multiboot modules, each with its words: a comma parts them, and is doubled inside of one.
        *("-initrd", f"{_comma(pack.kernel)} {linux},{_comma(pack.initramfs)}"),
        *_disk("root", ROOT, "qcow2"),
        *_disk("identity", IDENTITY, "raw", read_only=True),
        *_disk("modules", str(pack.modules), "raw", read_only=True),
        *_disk("group", GROUP, "qcow2"),
        *("-device", "virtio-scsi-pci,id=tray,num_queues=1"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-serial", f"file:{SERIAL_LOG}", "-qmp", f"unix:{QMP_SOCKET},server=on,wait=off"),
        *(("-loadvm", STATE) if resume else ()),
    )


def _disk(name: str, file: str, format: str, *, read_only: bool = False) -> tuple[str, ...]:
    # What a guest has written is safe from a crash of the guest, not from one of this machine.
    below = f"driver=file,filename={_comma(file)},node-name={name}-file,cache.no-flush=on"
    above = f"driver={format},file={name}-file,node-name={name}"
    if read_only:
        below, above = f"{below},read-only=on", f"{above},read-only=on"
    return ("-blockdev", below, "-blockdev", above, "-device", f"virtio-blk-pci,drive={name}")


def _comma(path: Path | str) -> str:
    return str(path).replace(",", ",,")


class Qmp:
    """The QEMU whose files are in `folder`, spoken to by its machine protocol (docs/interop/qmp-spec of QEMU)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """What it says to one command.

        Raises OSError when it is not there, GridvisorError when it says no, TimedOut when it does not listen.
        """

        def ask() -> Any:
            try:
                return asyncio.run(self._ask(command, arguments))
            except ConnectError as error:  # it ended before a word was said: seen once, while a snapshot was saved
                raise NotYet(f"{error}") from error

        return wait_until(f"QEMU does not listen to '{command}'", ask, Deadline.after(_LISTENS_S), every_s=0.1)

    async def _ask(self, command: str, arguments: Mapping[str, object] | None) -> Any:
        client = QMPClient("gridvisor")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            # The folder's path may be longer than a socket's may be (unix(7)).
            handle = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
            try:
                sock.connect(f"/proc/self/fd/{handle}/{QMP_SOCKET}")
            finally:
                os.close(handle)
            sock.setblocking(False)
            try:
                await client.connect(sock)
                return await client.execute(command, arguments)
            except ConnectError:
                raise
            except ExecuteError as error:
                raise GridvisorError(f"QEMU does not '{command}': {error}") from error
            except (QMPError, EOFError) as error:
                if command == "quit":  # it may be gone before it has answered
                    return None
                raise GridvisorError(f"QEMU has left at '{command}': {error}") from error
            finally:
                with suppress(QMPError, EOFError, OSError):  # when QEMU was quicker
                    await client.disconnect()

    @contextmanager
    def lent(self, file: Path, serial: str) -> Iterator[None]:
        """While the body runs, dom0 has a SCSI disk of that serial number, which is the raw `file`, to be read only."""
        self._take_back(serial)  # what was lent when somebody was killed
        self.ask(
            "blockdev-add",
            {
                "driver": "raw",
                "node-name": serial,
                "read-only": True,
                # Kernels of User-Mode Linux hold locks of their own on images, which never change.
                "file": {"driver": "file", "filename": str(file), "read-only": True, "locking": "off"},
            },
        )
        try:
            self.ask(
                "device_add", {"driver": "scsi-hd", "id": serial, "bus": "tray.0", "drive": serial, "serial": serial}
            )
            yield
        finally:
            self._take_back(serial)

    def _take_back(self, serial: str) -> None:
        for command, arguments in (("device_del", {"id": serial}), ("blockdev-del", {"node-name": serial})):
            with suppress(GridvisorError):  # there is none
                self.ask(command, arguments)

    def job(self, command: str, arguments: Mapping[str, object]) -> None:
        """Have a job done to its end (`snapshot-save` and its like). Raises GridvisorError when it fails."""
        id = f"gridvisor-{time.time_ns()}"
        self.ask(command, {"job-id": id, **arguments})

        def check() -> str:
            [job] = [one for one in self.ask("query-jobs") if one["id"] == id]
            if job["status"] != "concluded":
                raise NotYet(job["status"])
            return str(job.get("error", ""))

        error = wait_until(f"'{command}' goes on", check, Deadline.after(_JOB_S), every_s=0.05)
        self.ask("job-dismiss", {"id": id})
        if error:
            raise GridvisorError(f"QEMU does not '{command}': {error}")
