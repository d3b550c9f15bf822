"""The UML monitor: domains are folders with a keeper; what is true is asked of the keeper and of the kernel."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gridvisor.core.deadline import Deadline, NotYet, wait_until
from gridvisor.core.errors import GridvisorError, Refused, SystemSaidNo, TimedOut
from gridvisor.core.files import write_whole
from gridvisor.core.places import Places
from gridvisor.domain.model import OnEnd
from gridvisor.kernel.pack import KernelPack
from gridvisor.monitor.folder import DomainFolders
from gridvisor.monitor.last_words import last_words
from gridvisor.monitor.protocol import ConsoleFiles, DomainRow, Guest, NoSuchDomain, State
from gridvisor.monitor.record import guest_of, record_of
from gridvisor.monitor.uml import keeper
from gridvisor.monitor.uml.process import Use, use_of
from gridvisor.monitor.uml.sandbox import command_line
from gridvisor.run.local import clean_environment

START_S = 30.0  # a UML kernel says that it runs after a second; a machine under load gets this long
ANSWER_S = 10.0

_RESTARTING = {OnEnd.RESTART, OnEnd.RENAME_RESTART, OnEnd.COREDUMP_RESTART, OnEnd.SOFT_RESET}


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    folder: Path
    state: dict[str, Any]
    launch: dict[str, Any]


class UmlMonitor:
    """Runs guests as UML processes of this machine; see monitor.protocol.Monitor for the verbs."""

    name = "uml"

    def __init__(self, places: Places, pack: Callable[[], KernelPack]) -> None:
        self._places = places
        self._pack = pack
        self._folders = DomainFolders(places)

    def list(self) -> Sequence[DomainRow]:
        """See Monitor.list."""
        return sorted((_row(seen) for seen in self._all()), key=lambda row: row.id)

    def create(self, guest: Guest, *, paused: bool = False) -> DomainRow:
        """See Monitor.create. Also raises SystemSaidNo when the guest's kernel ends before it runs."""
        pack = self._pack()
        name = guest.domain.name
        self._wait_settled(name)
        claimed = None
        try:
            with self._folders.table():
                self._sweep_lost()
                self._sweep(name)
                claimed, lock = self._folders.claim(name)
                number = self._folders.next_id()
            with lock:
                launch = {
                    "id": number,
                    "memory_mib": guest.domain.memory_mib,
                    "argv": command_line(guest, pack, Path("vm")),
                    "on": _policies(guest),
                    "logs": str(self._places.state / "logs"),
                    "paused": paused,
                    "guest": record_of(guest),
                }
                write_whole(claimed / "launch.json", json.dumps(launch), mode=0o600)
                self._start(claimed, lock)
        except BaseException:
            if claimed is not None:
                self._wait_gone(claimed)  # the keeper, if it was started, sees that nobody commits and ends its guest
                with self._folders.table():
                    self._sweep(name, crashed_too=True)
            raise
        return next(row for row in self.list() if row.name == name)

    def destroy(self, name: str) -> None:
        """See Monitor.destroy."""
        seen = self._find(name)
        if self._folders.alive(name):
            with suppress(OSError):  # the keeper may end while it answers
                self._ask(seen.folder, "destroy")
            self._wait_gone(seen.folder)
        with self._folders.table():
            self._sweep(name, crashed_too=True)

    def forget(self, name: str) -> None:
        """See Monitor.forget. Nothing is kept: a domain's keeper removes what was made for it."""

    def shutdown(self, name: str) -> None:
        """See Monitor.shutdown."""
        self._control(name, "shutdown")

    def reboot(self, name: str) -> None:
        """See Monitor.reboot."""
        self._control(name, "reboot")

    def pause(self, name: str) -> None:
        """See Monitor.pause."""
        self._control(name, "pause")

    def unpause(self, name: str) -> None:
        """See Monitor.unpause."""
        self._control(name, "unpause")

    def rename(self, name: str, new_name: str) -> None:
        """See Monitor.rename."""
        with self._folders.table():
            self._find(name)
            self._sweep(new_name)
            if new_name in self._folders.names():
                raise Refused(f"A domain '{new_name}' exists already.", hint="gridvisor domain list")
            (self._folders.root / name).rename(self._folders.root / new_name)

    def console(self, name: str) -> ConsoleFiles:
        """See Monitor.console."""
        folder = self._find(name).folder
        return ConsoleFiles(folder / "console.sock", folder / "console.log")

    def console_log(self, name: str) -> bytes:
        """See Monitor.console_log."""
        return self.console(name).log.read_bytes()

    def guest(self, name: str) -> Guest:
        """See Monitor.guest."""
        return guest_of(self._find(name).launch["guest"])

    def guests(self) -> Sequence[tuple[DomainRow, Guest]]:
        """See Monitor.guests."""
        return [(_row(seen), guest_of(seen.launch["guest"])) for seen in self._all()]

    # -- reading what is there ---------------------------------------------------------------------------------

    def _all(self) -> Sequence[_Seen]:
        return [seen for name in self._folders.names() if (seen := self._look(name)) is not None]

    def _look(self, name: str) -> _Seen | None:
        """The domain of that folder; None for one that is being made, or was lost with a reboot of this machine."""
        folder = self._folders.root / name
        alive = self._folders.alive(name)  # asked before the files are read: a domain that ends meanwhile did not crash
        try:
            launch = json.loads((folder / "launch.json").read_text())
            state = json.loads((folder / "state.json").read_text())
        except PermissionError:
            raise  # another user's: that is not the same as none
        except (OSError, ValueError):
            return None
        if not alive:
            if state["boot_id"] != keeper.boot_id():
                return None
            state["status"] = "crashed"  # its keeper was killed, and the guest with it
        return _Seen(name, folder, state, launch)

    def _find(self, name: str) -> _Seen:
        if (seen := self._look(name)) is None:
            raise NoSuchDomain(name)
        return seen

    def _sweep_lost(self) -> None:
        """Remove what killed creators, killed keepers and a reboot of this machine left."""
        self._folders.clear_gone()
        for name in self._folders.names():
            if not self._folders.alive(name) and self._look(name) is None:
                self._sweep(name)

    def _sweep(self, name: str, *, crashed_too: bool = False) -> None:
        """Remove the folder of a domain that is dead. A crashed one stays for a look, unless it may be replaced."""
        if name not in self._folders.names() or self._folders.alive(name):
            return
        seen = self._look(name)
        if seen is not None and not crashed_too and seen.launch["on"]["crash"] == "preserve":
            raise Refused(
                f"The crashed domain '{name}' is preserved, as its configuration asks.",
                hint=f"gridvisor domain destroy {name}",
            )
        with suppress(OSError, ValueError):
            for argv in json.loads((self._folders.root / name / "launch.json").read_text())["guest"]["after"]:
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
        self._folders.remove(name)

    # -- the keeper --------------------------------------------------------------------------------------------

    def _start(self, folder: Path, lock: BinaryIO) -> None:
        with _pipe() as (commit_read, commit_write), _pipe() as (ready_read, ready_write):
            with (folder / "keeper.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", keeper.__file__, str(folder)],
                    env={
                        **clean_environment(),
                        "COMMIT_FD": str(commit_read.fileno()),
                        "READY_FD": str(ready_write.fileno()),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(commit_read.fileno(), ready_write.fileno(), lock.fileno()),
                    start_new_session=True,
                    cwd="/",
                )
            process.returncode = 0  # it outlives us: not ours to wait for, and no warning about that
            ready_write.close()
            if not select.select([ready_read], [], [], START_S)[0]:
                raise TimedOut(f"The kernel of '{folder.name}' had not started after {START_S:g} s.")
            answer = os.read(ready_read.fileno(), 4096).decode()
            if answer != "ok":
                raise _why_not(folder, self._places.state / "logs", answer)
            os.write(commit_write.fileno(), b"1")

    def _control(self, name: str, verb: str) -> None:
        seen = self._find(name)
        if seen.state["status"] == "crashed":
            raise Refused(f"'{name}' has crashed.", hint=f"gridvisor domain destroy {name}")
        try:
            answer = self._ask(seen.folder, verb)
        except OSError as error:
            raise GridvisorError(f"The keeper of '{name}' does not answer: {error}") from error
        if answer != "ok":
            raise Refused(f"'{name}' cannot {verb}: {answer.removeprefix('error ')}.")

    def _ask(self, folder: Path, verb: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(ANSWER_S)
            connect(client, folder / "control.sock")
            client.sendall(verb.encode())
            client.shutdown(socket.SHUT_WR)
            return client.recv(4096).decode()

    def _wait_settled(self, name: str) -> None:
        """Wait while another creator is at work on that name, or the keeper of a killed one is cleaning up."""

        def settled() -> None:
            seen = self._look(name)
            if self._folders.alive(name) and (seen is None or not seen.state.get("committed")):
                raise NotYet("another command is creating it")

        wait_until(f"the domain '{name}'", settled, Deadline.after(START_S + ANSWER_S), every_s=0.02)

    def _wait_gone(self, folder: Path) -> None:
        def gone() -> None:
            if self._folders.alive(folder.name):
                raise NotYet("its keeper is still there")

        wait_until(f"the end of '{folder.name}'", gone, Deadline.after(ANSWER_S), every_s=0.01)


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """A pipe whose ends may be closed early, and are closed at the end: files know whether they are."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as read, os.fdopen(write_fd, "wb") as write:
        yield read, write


def connect(client: socket.socket, path: Path) -> None:
    """Connect to a unix socket however long its path is: an address holds 107 bytes only (unix(7))."""
    folder_fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{folder_fd}/{path.name}")
    finally:
        os.close(folder_fd)


def _row(seen: _Seen) -> DomainRow:
    status = seen.state["status"]
    use = Use(0.0, 0) if status == "crashed" or "pid" not in seen.state else use_of(seen.state["pid"])
    return DomainRow(
        name=seen.name,
        id=seen.launch["id"],
        memory_mib=seen.launch["memory_mib"],
        vcpus=1,  # the packaged kernel is built without SMP
        state=State(status if status != "starting" else State.RUNNING),
        cpu_s=use.cpu_s,
        held_mib=use.held_mib,
        since_s=seen.state["since_s"],
        crashed_s=seen.state.get("crashed_s"),
        namespace=seen.launch["guest"]["namespace"],
    )


def _policies(guest: Guest) -> dict[str, str]:
    domain = guest.domain
    wanted = {"poweroff": domain.on_poweroff, "reboot": domain.on_reboot, "crash": domain.on_crash}
    return {event: "restart" if policy in _RESTARTING else policy.value for event, policy in wanted.items()}


def _why_not(folder: Path, logs: Path, answer: str) -> GridvisorError:
    """What to raise for a guest that ended before its kernel ran: our tools' fault, or the kernel's own."""
    said = _console_of(folder, logs)
    why = answer or "its keeper died"
    message = f"The guest '{folder.name}' did not start ({why}). It said last:\n{last_words(said)}"
    if not said or said.startswith(("bwrap:", "nsenter:")):
        return GridvisorError(message, hint="gridvisor doctor")
    return SystemSaidNo(message)


def _console_of(folder: Path, logs: Path) -> str:
    """What a guest that has just ended said. Its keeper moves the log away meanwhile: it is looked for there last."""
    with suppress(FileNotFoundError):
        return (folder / "console.log").read_text(errors="replace")
    kept = sorted(logs.glob(f"{folder.name}-*.console.log"), key=_changed_s)
    return kept[-1].read_text(errors="replace") if kept else ""


def _changed_s(path: Path) -> float:
    return path.stat().st_mtime
