"""Speaking to QEMU by its machine protocol, with a QEMU of words."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gridvisor.core.errors import GridvisorError
from gridvisor.monitor.box.qemu import QMP_SOCKET, Qmp

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}
NO = {"error": {"class": "GenericError", "desc": "no"}}


def leave(client: socket.socket) -> None:
    """End the connection before a word was said."""


def answer(client: socket.socket) -> None:
    """Negotiate, and answer what is asked; what asks ends no line."""
    client.sendall(json.dumps(GREETING).encode() + b"\n")
    while told := client.recv(4096):
        asked = json.loads(told)
        said = NO if asked["execute"] == "stop" else {"return": {}}
        client.sendall(json.dumps({**said, **{key: asked[key] for key in asked if key == "id"}}).encode() + b"\n")


def qemu(folder: Path, *meets: Callable[[socket.socket], None]) -> Qmp:
    """A QEMU that meets one connection after the other so."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(folder / QMP_SOCKET))
    server.listen()

    def serve() -> None:
        with server:
            for meet in meets:
                client, _ = server.accept()
                with client:
                    meet(client)

    threading.Thread(target=serve, daemon=True).start()
    return Qmp(folder)


def test_one_that_has_not_listened_is_asked_again(tmp_path: Path) -> None:
    assert qemu(tmp_path, leave, leave, answer).ask("query-jobs") == {}


def test_what_it_says_no_to_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(GridvisorError, match="QEMU does not 'stop': no"):
        qemu(tmp_path, answer).ask("stop")


def test_one_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Qmp(tmp_path).ask("stop")
