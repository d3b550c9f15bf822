"""The process that stays with one UML guest: holds its console, answers for it, and ends with it.

It runs as `python -I -S keeper.py FOLDER`, with the standard library alone, since there is one for each guest:
small and quick to start. FOLDER is the machine's; its name is the domain's name, and may change while we run, so
every path here is relative to it. In it:

    launch.json   what to run (written by the monitor)      lock        held by us for as long as we live
    state.json    what we see (written here, whole)         console.log all that the console said
    console.sock  the console, for any number of clients    control.sock  one request and one answer a connection
    vm/           the guest's own: mconsole, notifications

Inherited: LOCK_FD, the locked `lock`; COMMIT_FD, a pipe from the creator. We write to READY_FD once the kernel runs.
If COMMIT_FD closes before the creator has written to it, the creator died half way, and so does the guest.
"""

from __future__ import annotations

import json
import os
import pty
import selectors
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MCONSOLE_MAGIC = 0xCAFEBABE  # arch/um/drivers/mconsole.h of Linux, as all that follows here
MCONSOLE_VERSION = 2
MCONSOLE_MAX_DATA = 512
NOTIFY_SOCKET, NOTIFY_PANIC = 0, 1
MCONSOLE_TIMEOUT_S = 5.0

CONSOLE_LOG_BYTES = 8 << 20  # then the log is rotated once, so a guest that chatters cannot fill the disk
LOGS_KEPT = 100  # of ended domains
CONSOLE_REPLAY_BYTES = 4096  # what a new client of the console is shown of what was said before
MINIMUM_LIFE_S = 10.0  # a guest that crashed sooner is not started again: it would only crash again

MCONSOLE = Path("vm/uml/mconsole")
NOTIFY = Path("vm/notify")


class Keeper:
    """One guest and its sockets."""

    def __init__(self, launch: dict[str, Any], *, commit_fd: int, ready_fd: int) -> None:
        self.launch = launch
        self.commit_fd: int | None = commit_fd
        self.ready_fd: int | None = ready_fd
        self.selector = selectors.DefaultSelector()
        self.master_fd = -1
        self.guest: subprocess.Popen[bytes] | None = None
        self.companions: list[subprocess.Popen[bytes]] = []
        self.clients: list[socket.socket] = []
        self.log_fd = self.open_log()
        self.boots = 0
        self.ending: str | None = None  # why it is to end: shutdown, destroy, reboot, restart, panic, abandoned
        self.waiting_shutdown = False
        self.waiting_reboot = False
        self.state: dict[str, Any] = {"boot_id": boot_id(), "status": "starting", "since_s": time.time()}

    # -- the story ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Keep the guest until it has ended for good, then leave what its policy asks for."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop("destroy"))
        if self.prepare():
            self.listen()
            while True:
                self.start()
                self.serve()
                if not self.again():
                    break
        self.finish()

    def prepare(self) -> bool:
        """Run what comes before the guest; False when it failed, which the creator is told."""
        for argv in self.launch["guest"]["before"]:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
            if done.returncode:
                self.state["ended"] = f"{shlex.join(argv)}: {done.stderr.decode(errors='replace').strip()}"
                return False
        return True

    def listen(self) -> None:
        for name, accept in (("console.sock", self.accept_console), ("control.sock", self.accept_control)):
            Path(name).unlink(missing_ok=True)
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.bind(name)
            Path(name).chmod(0o600)
            server.listen(8)
            self.selector.register(server, selectors.EVENT_READ, accept)
        Path("vm").mkdir(exist_ok=True)
        NOTIFY.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(NOTIFY))
        self.selector.register(notify, selectors.EVENT_READ, self.notified)
        if self.commit_fd is not None:
            self.selector.register(self.commit_fd, selectors.EVENT_READ, self.committed)
        # Companions (port forwarders) are not the guest's children: they end with us even if we are killed.
        self.companions = [
            subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL)
            for argv in self.launch["guest"]["companions"]
        ]

    def start(self) -> None:
        shutil.rmtree(MCONSOLE.parent, ignore_errors=True)  # UML picks another name when a stale one is there
        self.boots, self.ending, self.waiting_shutdown, self.waiting_reboot = 0, None, False, False
        master_fd, slave_fd = pty.openpty()
        self.guest = subprocess.Popen(
            self.launch["argv"], stdin=slave_fd, stdout=slave_fd, stderr=slave_fd, start_new_session=True
        )
        os.close(slave_fd)
        os.set_blocking(master_fd, False)  # a paused guest reads nothing, and must not stop us with it
        self.master_fd = master_fd
        self.selector.register(master_fd, selectors.EVENT_READ, self.console_said)
        self.tell(status="running", since_s=time.time(), pid=self.guest.pid)

    def serve(self) -> None:
        assert self.guest is not None
        while self.guest.poll() is None:
            for key, _ in self.selector.select(timeout=0.5):
                key.data(key.fileobj)
        self.drain()
        self.selector.unregister(self.master_fd)
        os.close(self.master_fd)

    def again(self) -> bool:
        """Whether the guest is to be started anew, by what it did and by its policy."""
        assert self.guest is not None
        if self.commit_fd is not None and self.ready_fd is None and self.ending != "abandoned":
            self.committed(None)  # the creator knows that it ran; its word may be on its way, or it is dead
        if self.ending == "restart":
            self.state["reboots"] = self.state.get("reboots", 0) + 1
            return True
        crashed = self.ending == "panic" or (self.ending is None and self.guest.returncode != 0)
        self.state["ended"] = "crashed" if crashed else (self.ending or "poweroff")
        self.state["exit_status"] = self.guest.returncode
        policy = self.launch["on"]["crash" if crashed else "poweroff"]
        asked = self.ending in ("destroy", "abandoned", "shutdown", "reboot")
        lived_s = time.time() - float(self.state["since_s"])
        return self.commit_fd is None and not asked and policy == "restart" and lived_s >= MINIMUM_LIFE_S

    def finish(self) -> None:
        """Keep a crashed guest's folder to be looked at; of any other leave the console's log alone."""
        for companion in self.companions:
            companion.kill()
            companion.wait()
        self.say_ready("the guest ended: " + self.state["ended"])
        for argv in self.launch["guest"]["after"]:
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
        here = Path.cwd()
        logs = Path(self.launch["logs"])
        logs.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another keeper clears them as well
            for old in sorted(logs.glob("*.console.log"), key=lambda log: log.stat().st_mtime)[:-LOGS_KEPT]:
                old.unlink(missing_ok=True)
        if self.state["ended"] == "crashed" and self.commit_fd is None:
            shutil.copyfile("console.log", logs / f"{here.name}-{self.launch['id']}.console.log")
            self.tell(status="crashed", crashed_s=time.time())
            return
        shutil.move("console.log", logs / f"{here.name}-{self.launch['id']}.console.log")
        # By another name at once: a new domain of this name may be made before the last file of this one is gone.
        gone = here.with_name(f".gone-{self.launch['id']}")
        here.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    # -- what happens meanwhile --------------------------------------------------------------------------------

    def console_said(self, _: object) -> None:
        try:
            data = os.read(self.master_fd, 65536)
        except OSError:  # EIO: the guest has closed its side; serve() sees the end
            time.sleep(0.01)
            return
        with suppress(OSError):  # a full disk: the guest goes on, and what it says is lost
            os.write(self.log_fd, data)
            if os.fstat(self.log_fd).st_size > CONSOLE_LOG_BYTES:
                log_fd = self.open_log(new=True)
                os.close(self.log_fd)
                self.log_fd = log_fd
        for client in list(self.clients):
            try:
                client.send(data)
            except (BlockingIOError, OSError) as error:
                if not isinstance(error, BlockingIOError):  # a slow client misses bytes; a gone one is let go
                    self.drop(client)

    def open_log(self, *, new: bool = False) -> int:
        if new:
            Path("console.log").replace("console.log.1")
        return os.open("console.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def drain(self) -> None:
        with suppress(OSError):
            while data := os.read(self.master_fd, 65536):
                os.write(self.log_fd, data)

    def accept_console(self, server: Any) -> None:
        client, _ = server.accept()
        client.setblocking(False)
        with suppress(OSError), Path("console.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - CONSOLE_REPLAY_BYTES))
            client.send(log.read())
        self.clients.append(client)
        self.selector.register(client, selectors.EVENT_READ, self.console_typed)

    def console_typed(self, client: Any) -> None:
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.drop(client)
        else:
            with suppress(BlockingIOError):  # typed into a guest that does not listen: lost, as on a serial line
                os.write(self.master_fd, data)

    def drop(self, client: socket.socket) -> None:
        if client not in self.clients:  # it was let go by what the guest said, before its own event
            return
        self.clients.remove(client)
        self.selector.unregister(client)
        client.close()

    def notified(self, server: Any) -> None:
        kind = struct.unpack("<IIiI", server.recv(4096)[:16])[2]
        if kind == NOTIFY_PANIC:
            self.ending = "panic"  # the kernel aborts by itself right after
        elif kind == NOTIFY_SOCKET:
            self.boots += 1
            if self.boots > 1:  # UML reboots by starting its own program again, in the same process
                self.rebooted()
            elif self.launch.pop("paused", False):
                self.mconsole("stop")
                self.tell(status="paused")
            if self.ending is None:
                self.say_ready("ok")

    def rebooted(self) -> None:
        # Orderly shutdown is asked for with ctrl-alt-del, which reboots: the new kernel is stopped before it mounts.
        if self.waiting_shutdown:
            self.stop("shutdown")
        elif self.launch["on"]["reboot"] != "restart" and not self.waiting_reboot:
            self.stop("reboot")
        else:
            # The program kept its descriptor of the tap when it started itself again, and so finds the tap busy: the
            # guest would have no network (seen with 7.2). A new process has nothing of the old one.
            self.stop("restart")

    def committed(self, _: object) -> None:
        assert self.commit_fd is not None
        self.selector.unregister(self.commit_fd)
        if os.read(self.commit_fd, 1):
            os.close(self.commit_fd)
            self.commit_fd = None
            self.tell(committed=True)
        else:
            self.stop("abandoned")

    def accept_control(self, server: Any) -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(1.0)
            try:
                answer = self.control(connection.recv(64).decode().strip())
            except (OSError, ValueError, struct.error) as error:
                answer = f"error {error}"
            with suppress(OSError):
                connection.sendall(answer.encode())

    def control(self, verb: str) -> str:
        if verb == "pause" and self.state["status"] == "running":
            self.mconsole("stop")
            self.tell(status="paused")
        elif verb == "unpause" and self.state["status"] == "paused":
            self.mconsole("go")
            self.tell(status="running")
        elif verb in ("shutdown", "reboot"):
            if self.state["status"] == "paused":
                return "error it is paused"
            self.waiting_shutdown, self.waiting_reboot = verb == "shutdown", verb == "reboot"
            self.mconsole("cad")
        elif verb == "destroy":
            self.stop("destroy")
        elif verb not in ("pause", "unpause"):
            return f"error unknown request {verb!r}"
        return "ok"

    # -- small things ------------------------------------------------------------------------------------------

    def mconsole(self, command: str) -> None:
        """Send one request; raises OSError when the kernel refuses it or does not answer."""
        reply = Path(f"vm/reply-{os.getpid()}")
        reply.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            os.chdir("vm")  # UML answers to the path as it was bound, from its own working folder, which is vm/
            try:
                client.bind(reply.name)
                client.settimeout(MCONSOLE_TIMEOUT_S)
                data = command.encode()
                head = struct.pack("<III", MCONSOLE_MAGIC, MCONSOLE_VERSION, len(data))
                client.sendto(head + data.ljust(MCONSOLE_MAX_DATA, b"\0"), "uml/mconsole")
                error, _, length = struct.unpack("<III", (answer := client.recv(4096))[:12])
            finally:
                os.chdir("..")
                reply.unlink(missing_ok=True)
        if error:
            raise OSError(f"mconsole '{command}': {answer[12 : 12 + length].rstrip(bytes(1)).decode()}")

    def stop(self, why: str) -> None:
        """End the guest now. The sandbox's first process takes all others of it along."""
        self.ending = why
        if self.guest is not None and self.guest.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.guest.pid, signal.SIGKILL)

    def tell(self, **seen: Any) -> None:
        """Write what we see, whole, for the monitor's `list`."""
        self.state.update(seen)
        Path("state.json.new").write_text(json.dumps(self.state))
        Path("state.json.new").replace("state.json")

    def say_ready(self, text: str) -> None:
        if self.ready_fd is not None:
            with suppress(OSError):
                os.write(self.ready_fd, text.encode())
                os.close(self.ready_fd)
            self.ready_fd = None


def boot_id() -> str:
    """What tells this run of the machine from every other (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def main() -> None:
    """Keep the guest of the folder that is named on the command line."""
    os.umask(0o077)
    os.chdir(sys.argv[1])
    launch = json.loads(Path("launch.json").read_text())
    Keeper(launch, commit_fd=int(os.environ["COMMIT_FD"]), ready_fd=int(os.environ["READY_FD"])).run()


if __name__ == "__main__":
    main()
