"""A bare Debian made a Xen host, by hand: a disk that boots by GRUB, in QEMU, prepared over ssh. Takes half an hour.

    sudo .venv/bin/python tests/campaigns/prepare.py FOLDER [--again] [--site]

Needs mmdebstrap, fdisk, e2fsprogs and qemu-system-x86. FOLDER is made, and keeps disk, console and key. Nothing gets
into the machine but ssh, nothing gets out: its packages are a repository on its own disk. `--site` brings up a site
there as well; `--again` goes on with a machine that an earlier run has left half prepared. Prints what is run and what
it says, and fails where that is not what it should be.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

from gridvisor.app.xen_needs import PACKAGES  # noqa: E402
from gridvisor.core.places import Places  # noqa: E402
from gridvisor.package.apt import Apt  # noqa: E402
from gridvisor.package.mirror import mirror_of_this_machine  # noqa: E402
from gridvisor.release.repository import write_index  # noqa: E402
from gridvisor.run.local import Local  # noqa: E402

SUITE = "trixie"
BARE = (
    *("linux-image-amd64", "grub-pc", "systemd-sysv", "udev", "dbus", "kmod", "openssh-server"),
    *("iproute2", "e2fsprogs", "ca-certificates"),
)
DISK_MIB, START_MIB, SECTOR = 6144, 1, 512
BOOT_S, PREPARE_S, SITE_S = 900.0, 3000.0, 3600.0
# A machine of its owner's: a serial console, and the words that an emulated processor is quicker with.
DEFAULT_GRUB = """\
GRUB_DEFAULT=0
GRUB_TIMEOUT=2
GRUB_DISTRIBUTOR=Debian
GRUB_TERMINAL=serial
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=ttyS0,115200"
GRUB_CMDLINE_LINUX_XEN_REPLACE="console=hvc0"
GRUB_CMDLINE_XEN="console=com1 com1=115200,8n1 bootscrub=0 spec-ctrl=no xpti=no"
"""
# Until GRUB's own menu is made over there, as an installer does.
FIRST_MENU = """\
linux /vmlinuz root=/dev/vda1 ro console=ttyS0,115200
initrd /initrd.img
boot
"""
NETWORK = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"
SITE = """\
site: one
machines:
  se: {role: se, volumes: {data: 64MiB}}
"""


def make_disk(folder: Path) -> None:
    """A bare Debian on `folder`/disk.raw, with GRUB in its first sectors; and an empty second disk."""
    places = Places.of(os.environ, uid=0)
    local = Local()
    mirror = mirror_of_this_machine(local)
    apt = Apt(places, mirror, target=local)
    packages = folder / "packages"
    packages.mkdir()
    for one in apt.resolve(SUITE, PACKAGES):
        shutil.copy(apt.download(SUITE, one.name), packages / f"{one.name}_{one.version.replace(':', '%3a')}.deb")
    write_index(packages, target=local)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    tree = folder / "tree"
    words = [
        *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(BARE)}"),
        *(f"--aptopt={option}" for option in mirror.apt_options),
        '--essential-hook=echo grub-pc grub-pc/install_devices_empty boolean true | chroot "$1" debconf-set-selections',
        # As `grub-install` does, for a disk that no kernel of this machine knows.
        '--customize-hook=chroot "$1" grub-mkimage -O i386-pc -o /boot/core.img -p "(hd0,msdos1)/boot/grub"'
        " biosdisk part_msdos ext2 linux normal",
        '--customize-hook=chroot "$1" systemctl enable systemd-networkd',
        *(SUITE, str(tree), f"deb {mirror.uri} {SUITE} main"),
    ]
    subprocess.run(words, check=True)
    core = (tree / "boot/core.img").read_bytes()
    boot = (tree / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    (tree / "boot/core.img").unlink()
    (tree / "boot/grub").mkdir(exist_ok=True)
    for name, text in {
        "boot/grub/grub.cfg": FIRST_MENU,
        "etc/default/grub": DEFAULT_GRUB,
        "etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n",
        "etc/hostname": "bare\n",
        "etc/hosts": "127.0.0.1 localhost bare\n",
        "etc/machine-id": "uninitialized\n",
        "etc/systemd/network/any.network": NETWORK,
        "etc/apt/sources.list": "deb [trusted=yes] file:/srv/packages ./\n",
        "root/.ssh/authorized_keys": (folder / "key.pub").read_text(),
    }.items():
        write(tree / name, text)
    for left in ("etc/apt/apt.conf.d/99mmdebstrap", "etc/resolv.conf"):
        (tree / left).unlink(missing_ok=True)
    shutil.move(packages, tree / "srv/packages")
    known = (tree / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    write(folder / "host_key", " ".join(known))
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    subprocess.run(["sfdisk", "-q", disk], input=f"start={START_MIB}MiB, type=83, bootable\n", text=True, check=True)
    offset = ("-E", f"offset={START_MIB << 20}", "-d", str(tree), str(disk), f"{DISK_MIB - START_MIB}M")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", *offset], check=True)
    if len(core) > (START_MIB << 20) - SECTOR:
        sys.exit("GRUB does not fit between the first sector and the partition.")
    with disk.open("r+b") as file:
        file.write(boot[:440])  # what follows is the table of partitions
        file.seek(SECTOR)
        file.write(core)
    shutil.rmtree(tree)


def write(path: Path, text: str) -> None:
    """Write a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text)


@contextmanager
def machine(folder: Path) -> Iterator[int]:
    """While the body runs, the machine runs; its ssh is at that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with (folder / "empty.raw").open("ab") as file:
        file.truncate(12 << 30)
    write(folder / "known_hosts", f"[127.0.0.1]:{port} {(folder / 'host_key').read_text()}\n")
    options = (f"IdentityFile {folder}/key", f"UserKnownHostsFile {folder}/known_hosts", "IdentitiesOnly yes")
    write(folder / "ssh_config", "\n".join(options) + "\n")
    write(folder / "bin/ssh", f'#!/bin/sh\nexec /usr/bin/ssh -F {shlex.quote(str(folder))}/ssh_config "$@"\n')
    (folder / "bin/ssh").chmod(0o755)
    disks = [
        word
        for name in ("disk", "empty")
        for word in ("-drive", f"file={folder}/{name}.raw,format=raw,if=virtio,cache=unsafe,discard=unmap")
    ]
    words = (
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64", "-smp", "2", "-m", "3G"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{folder}/console.log", *disks),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    )
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as qemu:
        try:
            yield port
        finally:
            qemu.terminate()


class Trial:
    """What is said to the machine, with `gridvisor` and by plain ssh."""

    def __init__(self, folder: Path, port: int) -> None:
        self.uri = f"xen+ssh://root@127.0.0.1:{port}"
        self._ssh = (str(folder / "bin/ssh"), "-o", "BatchMode=yes", "-p", str(port), "root@127.0.0.1")
        self._environment = {**os.environ, "NO_COLOR": "1", "PATH": f"{folder}/bin:{os.environ['PATH']}"}

    def gridvisor(self, *words: str, status: int, timeout_s: float = PREPARE_S) -> str:
        """What a command prints on stdout; it has to end with that status."""
        say(f"$ gridvisor {shlex.join(words)}")
        began_s = time.monotonic()
        argv = (str(PROJECT / ".venv/bin/gridvisor"), *words)
        done = subprocess.run(
            argv, env=self._environment, stdin=subprocess.DEVNULL, text=True, timeout=timeout_s, stdout=subprocess.PIPE
        )
        say(f"{done.stdout}[status {done.returncode}, {time.monotonic() - began_s:.0f} s]")
        if done.returncode != status:
            sys.exit(f"It should have ended with status {status}.")
        return done.stdout

    def prepare(self, *options: str, status: int) -> str:
        """What `gridvisor host prepare` prints on stdout, of the empty disk; it has to end with that status."""
        return self.gridvisor(*self._prepare, *options, status=status)

    @property
    def _prepare(self) -> tuple[str, ...]:
        return ("host", "prepare", self.uri, "--disk", "/dev/vdb", "--dom0-memory", "1GiB")

    def killed_at_its_packages(self) -> None:
        """Begin to prepare it, and be killed once packages are being unpacked over there, which goes on."""
        words = (*self._prepare, "-y")
        say(f"$ gridvisor {shlex.join(words)}  # and is killed")
        argv = (str(PROJECT / ".venv/bin/gridvisor"), *words)
        with subprocess.Popen(argv, env=self._environment, stdin=subprocess.DEVNULL) as process:
            self.there("until dpkg-query -W xen-utils-common 2>/dev/null; do sleep 1; done")
            process.kill()
        self.there("pgrep -a apt-get; dpkg --audit | head -5")

    def there(self, command: str, *, timeout_s: float = BOOT_S) -> str:
        """What a command prints over there."""
        say(f"# {command}")
        done = subprocess.run(
            (*self._ssh, command), text=True, timeout=timeout_s, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        say(done.stdout.rstrip())
        if done.returncode:
            sys.exit(f"It ended with status {done.returncode}.")
        return done.stdout

    def wait(self) -> None:
        """Return when the machine answers."""
        end_s = time.monotonic() + BOOT_S
        while subprocess.run((*self._ssh, "true"), capture_output=True, stdin=subprocess.DEVNULL).returncode:
            if time.monotonic() > end_s:
                sys.exit("It does not answer by ssh; its console is in console.log.")
            time.sleep(3)


def say(line: str) -> None:
    """Print a line at once, with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def expect(*, it: bool, else_say: str) -> None:
    """Fail with that text unless `it` holds."""
    if not it:
        sys.exit(else_say)


def prepare(trial: Trial) -> None:
    """From a bare Debian to a Xen host, by a command that is killed and one that is not."""
    trial.there("grub-install /dev/vda && update-grub")
    trial.gridvisor("host", "check", trial.uri, status=3)
    for words in ((), ("--disk", "/dev/vda"), ("--disk", "/dev/vda1")):
        trial.gridvisor("host", "prepare", trial.uri, *words, "-y", status=2)
    trial.prepare("--dry-run", status=0)
    trial.killed_at_its_packages()
    trial.prepare("-y", "--reboot", status=0)


def look(trial: Trial) -> None:
    """It runs under Xen by GRUB's own choice, and there is nothing left to do."""
    trial.there("cat /sys/hypervisor/type; cat /proc/cmdline; xl list; xl info | grep xen_; pvs; lvs")
    trial.there("cat /etc/default/grub.d/gridvisor.cfg; tail -4 /etc/xen/xl.conf; systemctl --failed --no-legend")
    trial.gridvisor("host", "check", trial.uri, status=0)
    said = trial.prepare("-y", status=0)
    expect(it=said.startswith("Nothing is to be done."), else_say="There should be nothing to do.")
    trial.gridvisor("host", "disks", trial.uri, status=0)


def bring_up_a_site(trial: Trial, file: Path) -> None:
    """A site of one machine runs there."""
    write(file, SITE)
    trial.gridvisor("up", str(file), "--monitor", trial.uri, status=0, timeout_s=SITE_S)
    trial.there("xl list; lvs")
    said = trial.gridvisor("ssh", "-s", "one", "se", "--", "systemctl", "is-active", "xrootd@se", status=0)
    expect(it=said == "active\n", else_say="Its service should be active.")
    trial.gridvisor("destroy", "--yes", "one", status=0, timeout_s=SITE_S)


def main() -> None:
    """Do what the command line says."""
    words = [word for word in sys.argv[1:] if word not in ("--site", "--again")]
    if len(words) != 1 or words[0].startswith("-"):
        sys.exit(__doc__)
    folder = Path(words[0]).resolve()
    if not (folder / "host_key").exists():
        folder.mkdir(parents=True, mode=0o700)
        make_disk(folder)
        say("The disk is made.")
    with machine(folder) as port:
        trial = Trial(folder, port)
        trial.wait()
        say("It has booted by GRUB.")
        if "--again" in sys.argv:
            trial.prepare("-y", "--reboot", status=0)
        else:
            prepare(trial)
        look(trial)
        if "--site" in sys.argv:
            bring_up_a_site(trial, folder / "one.yaml")
        trial.there("systemctl poweroff")
    say("Good.")


if __name__ == "__main__":
    main()
