"""The tar: the same bytes each time, and unpacked by busybox as we mean it."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from gridvisor.identity.model import IdentityEntry, IdentityFile, IdentityFolder, IdentityLink
from gridvisor.identity.tarball import identity_bytes, write_identity

ENTRIES: tuple[IdentityEntry, ...] = (
    IdentityFile("/etc/hostname", b"ce01\n"),
    IdentityFile("/etc/resolv.conf", b"nameserver 10.0.0.1\n"),
    IdentityFolder("/root/.ssh", 0o700),
    IdentityFile("/root/.ssh/authorized_keys", b"ssh-ed25519 AAAA\n", 0o600),
    IdentityLink("/etc/systemd/system/sshd-keygen.service", "/dev/null"),
)


def test_the_order_of_entries_does_not_count(tmp_path: Path) -> None:
    one = write_identity(ENTRIES, tmp_path / "one")
    other = write_identity(reversed(ENTRIES), tmp_path / "other")
    assert one == other
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_bytes_do_not_change_between_versions() -> None:
    # A changed hash makes every machine unpack its identity again.
    assert hashlib.sha256(identity_bytes(ENTRIES)).hexdigest() == (
        "1ed90afb1a6ecd48ea1db247ca256004f0385d25d7ba7025b2e71eaf3be4104e"
    )


def test_written_for_its_owner_only_and_as_a_block_device_can_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "identity.tar"
    digest = write_identity(ENTRIES, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size % 512 == 0
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.tar"]


def test_nothing_tells_when_or_by_whom_it_was_made_and_standard_folders_are_left_out(tmp_path: Path) -> None:
    write_identity(ENTRIES, tmp_path / "identity.tar")
    with tarfile.open(tmp_path / "identity.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert [m.name for m in members if m.isdir()] == ["root/.ssh"]
    assert [m.name for m in members] == sorted(m.name for m in members)


@pytest.mark.parametrize("path", ["etc/hostname", "/etc/../root/x", "/", "/etc//hostname", "/etc/"])
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a plain absolute path"):
        identity_bytes([IdentityFile(path, b"")])


def test_a_path_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="comes twice"):
        identity_bytes([IdentityFile("/etc/hostname", b"a"), IdentityFile("/etc/hostname", b"b")])


def test_an_old_identity_stays_when_a_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "identity.tar"
    write_identity(ENTRIES, path)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        write_identity([IdentityFile("bad", b"")], path)
    assert path.read_bytes() == before


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")
def test_busybox_unpacks_it_over_an_image(tmp_path: Path) -> None:
    write_identity(ENTRIES, tmp_path / "identity.tar")
    guest = tmp_path / "guest"
    (guest / "etc").mkdir(parents=True, mode=0o751)
    (guest / "etc").chmod(0o751)
    (guest / "etc/hostname").write_text("the image's name, which is longer\n")
    # An image with systemd-resolved has a link here: it is replaced, and what it points at stays untouched.
    (guest / "run").mkdir()
    (guest / "run/stub-resolv.conf").write_text("nameserver 127.0.0.53\n")
    (guest / "etc/resolv.conf").symlink_to("../run/stub-resolv.conf")
    for _ in range(2):
        subprocess.run(["busybox", "tar", "-C", str(guest), "-xf", str(tmp_path / "identity.tar")], check=True)

    def mode(path: str) -> int:
        return stat.S_IMODE((guest / path).lstat().st_mode)

    assert (guest / "etc/hostname").read_text() == "ce01\n"
    assert not (guest / "etc/resolv.conf").is_symlink()
    assert (guest / "run/stub-resolv.conf").read_text() == "nameserver 127.0.0.53\n"
    assert (guest / "etc/systemd/system/sshd-keygen.service").readlink() == Path("/dev/null")
    assert (mode("etc"), mode("etc/hostname")) == (0o751, 0o644)
    assert (mode("root/.ssh"), mode("root/.ssh/authorized_keys")) == (0o700, 0o600)
