"""The command line of one UML guest: bubblewrap around `linux.uml`, so that it sees its own files and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gridvisor.kernel.pack import KernelPack, Mode
from gridvisor.kernel.parameters import IdentityDevice, boot_parameters
from gridvisor.monitor.protocol import Attachment, Guest, VolumeUse

INSIDE = "/vm"  # the machine's own folder, as the guest's kernel sees it
# What the kernel would measure at every boot, taking a second for it: which RAID-6 routine is the fastest (0.85 s; md
# and btrfs with RAID-6 are what a guest goes without), and how long a busy loop is (0.15 s; for delays of hardware,
# which a guest has none of).
_UNMEASURED = ("initcall_blacklist=raid6_init,raid6_select_algo", "lpj=20000000")

UMID = "uml"  # its mconsole is then INSIDE/uml/mconsole


def command_line(guest: Guest, pack: KernelPack, folder: Path) -> list[str]:
    """The argv that runs `guest` in the foreground, its console on stdin and stdout.

    `folder` is the machine's own, writable; relative to where the command is started when the machine's folder may
    be renamed before it is started again. The guest dies with the process that starts it.
    """
    enter = ["nsenter", f"--net=/run/netns/{guest.namespace}", "--"] if guest.namespace else []
    return [*enter, *_bubblewrap(guest, pack, folder), *_kernel(guest, pack)]


def _bubblewrap(guest: Guest, pack: KernelPack, folder: Path) -> list[str]:
    # Root outside is nobody special inside: a user namespace of its own and no capability. The user outside stays
    # the same, so that /dev/net/tun opens where it is root's only, as on some distributions.
    argv = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/bin"]
    argv += ["--ro-bind", f"{pack.runtime}/usr", "/usr", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/lib"]
    argv += ["/lib", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--bind", str(folder), INSIDE]
    argv += ["--ro-bind", str(pack.initramfs), "/boot/initramfs"]
    if guest.nics:
        argv += ["--dev-bind", "/dev/net/tun", "/dev/net/tun"]
    elif not guest.namespace:  # without a card it has no business in this machine's network
        argv.append("--unshare-net")
    for index, volume in enumerate(guest.volumes):
        if volume.backing is None:
            argv += ["--bind" if volume.writable else "--ro-bind", str(volume.path), _disk(index)]
        else:  # UML makes the copy-on-write file itself on first use, so it is given the folder for it
            argv += ["--bind", str(volume.path.parent), f"/disk/{index}", "--ro-bind", str(volume.backing)]
            argv += [_backing(index)]
    # UML answers on mconsole to the path that a client bound, seen from here: both sides use the machine's folder.
    return [*argv, "--chdir", INSIDE, "--"]


def _kernel(guest: Guest, pack: KernelPack) -> list[str]:
    argv = ["/usr/bin/linux.uml", f"mem={guest.domain.memory_mib}M", f"uml_dir={INSIDE}", f"umid={UMID}"]
    argv += [f"mconsole=notify:{INSIDE}/notify", "con=null", "con0=fd:0,fd:1", "ssl=null", "initrd=/boot/initramfs"]
    argv += _UNMEASURED
    if pack.mode is Mode.SECCOMP:
        argv.append("seccomp=on")
    argv += [_ubd(index, volume) for index, volume in enumerate(guest.volumes)]
    argv += [
        f"vec{index}:transport=tap,ifname={nic.tap},mac={nic.mac},depth=128,gro=1"
        for index, nic in enumerate(guest.nics)
    ]
    identities = _devices(guest.volumes, VolumeUse.IDENTITY)
    argv += boot_parameters(
        _devices(guest.volumes, VolumeUse.ROOT)[0],
        IdentityDevice(identities[0], guest.identity_id or "") if identities else None,
        modules=next(iter(_devices(guest.volumes, VolumeUse.MODULES)), None),
        swaps=_devices(guest.volumes, VolumeUse.SWAP),
    )
    return [*argv, *(guest.domain.extra or "").split()]


def _ubd(index: int, volume: Attachment) -> str:
    # "r": read-only; without a backing file the disk is used as it is. UML numbers disks from 0 to 15.
    name = f"ubd{index}{'' if volume.writable else 'r'}"
    if volume.backing is None:
        return f"{name}={_disk(index)}"
    return f"{name}={_disk(index)}/{volume.path.name},{_backing(index)}"


def _devices(volumes: Sequence[Attachment], use: VolumeUse) -> list[str]:
    return [f"ubd{chr(ord('a') + index)}" for index, volume in enumerate(volumes) if volume.use is use]


def _disk(index: int) -> str:
    return f"/disk/{index}"


def _backing(index: int) -> str:
    return f"/disk/{index}.backing"
