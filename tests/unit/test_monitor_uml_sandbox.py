"""The command line of a UML guest: what it may see, and what its kernel is told."""

from __future__ import annotations

from pathlib import Path

from gridvisor.domain.model import Domain
from gridvisor.kernel.pack import KernelPack, Mode
from gridvisor.monitor.protocol import Attachment, Guest, Nic, VolumeUse
from gridvisor.monitor.uml.sandbox import command_line

PACK = KernelPack("id", "7.2", Mode.SECCOMP, Path("/cache/pack"))
ROOT = Attachment(VolumeUse.ROOT, Path("/state/vm1/data/disk"), True, Path("/cache/root.img"))
SWAP = Attachment(VolumeUse.SWAP, Path("/state/swap/data/disk"), True)
IDENTITY = Attachment(VolumeUse.IDENTITY, Path("/state/identity.tar"), False)
MODULES = Attachment(VolumeUse.MODULES, Path("/cache/pack/modules.img"), False)


def words(guest: Guest, pack: KernelPack = PACK) -> list[str]:
    return command_line(guest, pack, Path("/state/vm1/vm"))


def bound(argv: list[str]) -> dict[str, tuple[str, str]]:
    """Inside path → (how it is bound, outside path)."""
    return {
        argv[at + 2]: (word, argv[at + 1])
        for at, word in enumerate(argv)
        if word in ("--bind", "--ro-bind", "--dev-bind")
    }


def test_a_guest_sees_its_own_files_and_nothing_else() -> None:
    argv = words(Guest(Domain("vm1"), (ROOT, SWAP, IDENTITY, MODULES), (Nic("00:16:3e:00:00:01", "tap1"),)))
    assert bound(argv) == {
        "/usr": ("--ro-bind", "/cache/pack/runtime/usr"),
        "/vm": ("--bind", "/state/vm1/vm"),
        "/boot/initramfs": ("--ro-bind", "/cache/pack/initramfs"),
        "/dev/net/tun": ("--dev-bind", "/dev/net/tun"),
        "/disk/0": ("--bind", "/state/vm1/data"),
        "/disk/0.backing": ("--ro-bind", "/cache/root.img"),
        "/disk/1": ("--bind", "/state/swap/data/disk"),
        "/disk/2": ("--ro-bind", "/state/identity.tar"),
        "/disk/3": ("--ro-bind", "/cache/pack/modules.img"),
    }
    for asked in ("--unshare-user", "--unshare-pid", "--die-with-parent", "--clearenv"):
        assert asked in argv
    assert argv[argv.index("--cap-drop") + 1] == "ALL"
    assert "--unshare-net" not in argv  # it would not have its card


def test_a_guest_without_a_card_cannot_open_a_tap() -> None:
    argv = words(Guest(Domain("vm1"), (ROOT,)))
    assert "/dev/net/tun" not in argv
    assert argv[0] == "bwrap"
    assert "--unshare-net" in argv


def test_the_kernel_is_told_its_disks_in_order() -> None:
    argv = words(Guest(Domain("vm1", memory_mib=256), (SWAP, ROOT, IDENTITY, MODULES), identity_id="ab" * 32))
    kernel = argv[argv.index("/usr/bin/linux.uml") :]
    assert "mem=256M" in kernel
    assert "ubd0=/disk/0" in kernel
    assert "ubd1=/disk/1/disk,/disk/1.backing" in kernel
    assert "ubd2r=/disk/2" in kernel
    assert "gridvisor.root=ubdb" in kernel
    assert f"gridvisor.identity=ubdc:{'ab' * 32}" in kernel
    assert "gridvisor.modules=ubdd" in kernel
    assert "gridvisor.swap=ubda" in kernel


def test_the_guest_joins_the_network_of_its_namespace() -> None:
    nic = Nic("00:16:3e:00:00:01", "tap1")
    argv = words(Guest(Domain("vm1"), (ROOT,), (nic,), namespace="gv-1"))
    assert argv[:3] == ["nsenter", "--net=/run/netns/gv-1", "--"]
    assert "vec0:transport=tap,ifname=tap1,mac=00:16:3e:00:00:01,depth=128,gro=1" in argv


def test_seccomp_mode_is_asked_for_only_where_it_is() -> None:
    guest = Guest(Domain("vm1"), (ROOT,))
    assert "seccomp=on" in words(guest)
    assert "seccomp=on" not in words(guest, KernelPack("id", "6.12", Mode.PTRACE, Path("/cache/pack")))


def test_extra_words_of_the_domain_come_last() -> None:
    assert words(Guest(Domain("vm1", extra="single ro"), (ROOT,)))[-2:] == ["single", "ro"]
