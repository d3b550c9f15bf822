"""Keys and ids: kept for a machine, never shared between two."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused
from gridvisor.identity.keys import access_key, host_key, known_hosts_line, machine_id, new_machine_id


def test_a_machine_keeps_its_keys_and_id(tmp_path: Path) -> None:
    assert host_key(tmp_path) == host_key(tmp_path)
    assert machine_id(tmp_path) == machine_id(tmp_path)


def test_clones_share_neither_key_nor_id(tmp_path: Path) -> None:
    keys = [host_key(tmp_path / str(number)) for number in range(50)]
    assert len({key.private_pem for key in keys}) == len({key.public for key in keys}) == 50
    assert len({machine_id(tmp_path / str(number)) for number in range(50)}) == 50


def test_a_thousand_machine_ids_differ() -> None:
    ids = {new_machine_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(text) == 32 and set(text) <= set("0123456789abcdef") for text in ids)


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    host_key(tmp_path / "machine")
    access = access_key(tmp_path / "access")
    assert stat.S_IMODE((tmp_path / "machine/ssh_host_ed25519_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(access.private_path.stat().st_mode) == 0o600


def test_all_who_ask_at_once_get_one_access_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: access_key(tmp_path), range(32)))
    assert len(answers) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".identity.lock", "access_ed25519"]


def test_processes_that_ask_at_once_get_one_access_key(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from gridvisor.identity.keys import access_key;"
        "sys.stdout.write(access_key(pathlib.Path(sys.argv[1])).public)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(4)]
    answers = {process.communicate()[0] for process in running}
    assert answers == {access_key(tmp_path).public.encode()}


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_openssh_reads_the_private_key_and_finds_the_same_public_one(tmp_path: Path) -> None:
    access = access_key(tmp_path)
    read = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(access.private_path)], check=True, capture_output=True, text=True
    )
    assert read.stdout.split()[:2] == access.public.split()[:2]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
@pytest.mark.parametrize(("port", "asked"), [(22, "ce01"), (2222, "[ce01]:2222")])
def test_openssh_finds_the_host_in_known_hosts(tmp_path: Path, port: int, asked: str) -> None:
    key = host_key(tmp_path)
    (tmp_path / "known_hosts").write_text(known_hosts_line("ce01", key, port=port))
    found = subprocess.run(
        ["ssh-keygen", "-F", asked, "-f", str(tmp_path / "known_hosts")], check=True, capture_output=True, text=True
    )
    assert key.public in found.stdout


def test_a_spoiled_key_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "ssh_host_ed25519_key").write_text("not a key\n")
    with pytest.raises(Refused, match="not a private ssh key"):
        host_key(tmp_path)
    assert (tmp_path / "ssh_host_ed25519_key").read_text() == "not a key\n"
