"""Four guests made by gridvisor, beside four made by xen-create-image of xen-tools.

Run as root on a machine that is otherwise idle:  sudo .venv/bin/python benchmarks/xen_tools.py
xen-create-image makes disks and configurations of guests, one after the other, and boots none. It is run on this
machine, in a Debian of its own that mmdebstrap makes first, with its disks as files there. gridvisor makes its guests
in a box, and what is timed ends when they have been created and boot. Cold: xen-create-image has no packages yet, while
gridvisor, whose box is up, has them and the tree that its images share. Warm: packages and the image are at hand. Takes
a quarter of an hour without KVM.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import show, timed

from gridvisor.core.places import Places
from gridvisor.package.apt import source_line
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.run.local import Local

GUESTS = 4
MIB = 160
SUITE = "bookworm"  # the last with xen-tools, and of theirs what that knows
VM1 = Path(__file__).parent.parent / "examples" / "vm1.cfg"
# What a guest of gridvisor's has, too: an sshd. Its other steps are those of xen-tools as packaged.
XEN_CREATE_IMAGE = f"""\
for number in $(seq {GUESTS}); do
    xen-create-image --hostname "tool$number" --dir /xen --size 2G --noswap --memory {MIB}M --dhcp --nopygrub \\
        --nohosts --dist {SUITE} --arch amd64 --mirror "$1" --install-method debootstrap \\
        --cache yes --cachedir /cache --genpass 0 --force --verbose
    test -s "/xen/domains/tool$number/disk.img" && test -s "/etc/xen/tool$number.cfg"
done
"""


def tools(folder: Path) -> Callable[[], None]:
    """A Debian with xen-tools in `folder`; what is given back makes the guests, and keeps their packages."""
    mirror = mirror_of_this_machine(Local())
    tree = folder / "tree"
    words = ["mmdebstrap", "--mode=root", "--variant=apt", "--include=xen-tools,debootstrap,e2fsprogs"]
    words += [f"--aptopt={option}" for option in mirror.apt_options]
    subprocess.run([*words, SUITE, tree, source_line(mirror, SUITE).strip()], check=True, stderr=subprocess.DEVNULL)
    (tree / "cache").mkdir()
    (tree / "etc/xen").mkdir()  # it refuses to work without
    (tree / "etc/apt/sources.list").write_text(f"deb {mirror.uri} {SUITE} main\n")  # it knows no options of a source

    def make() -> None:
        # Mounts of its own, which end with it; /dev is this machine's, for its loop devices.
        enter = (
            'for at in dev proc sys; do mount --rbind "/$at" "$1/$at"; done; cp /etc/resolv.conf /etc/hosts "$1/etc/"'
        )
        inside = ["chroot", str(tree), "sh", "-euc", XEN_CREATE_IMAGE, "sh", mirror.uri]
        with (folder / "log").open("ab") as log:
            subprocess.run(
                ["unshare", "--mount", "sh", "-euc", f'{enter}; shift; exec "$@"', "sh", str(tree), *inside],
                check=True,
                stdout=log,
                stderr=log,
            )

    return make


class Gridvisor:
    """gridvisor with a box and a home of its own, beside this user's `cache`."""

    def __init__(self, home: Path, cache: Path) -> None:
        self.environment = {**os.environ, "GRIDVISOR_HOME": str(home)}
        (home / "cache").symlink_to(cache)

    def __call__(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "gridvisor", *words], env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"gridvisor {' '.join(words)} failed:\n{done.stderr}")

    def create(self, name: str) -> None:
        disks = f"disk=['phy:/dev/vg0/{name}-disk,xvda1,w','phy:/dev/vg0/{name}-swap,xvda2,w']"
        words = ("--image", "xen-tools-bench", str(VM1), f"name={name}", disks, "vif=['']", f"memory={MIB}")
        self("domain", "--monitor", "box", "create", *words)

    def create_all(self) -> None:
        with ThreadPoolExecutor(GUESTS) as pool:
            list(pool.map(self.create, [f"own{number}" for number in range(GUESTS)]))

    def remove_all(self) -> None:
        for number in range(GUESTS):
            self("domain", "--monitor", "box", "destroy", "--volumes", f"own{number}")


def main() -> None:
    cache = Places.of(os.environ, uid=os.geteuid()).cache
    with tempfile.TemporaryDirectory(prefix="gridvisor-bench-") as work:
        theirs = tools(Path(work))
        cold = timed(theirs)
        show(f"xen-create-image, {GUESTS} guests, cold", [cold])
        warm = timed(theirs)
        show(f"xen-create-image, {GUESTS} guests, warm", [warm])
        home = Path(work) / "home"
        home.mkdir()
        own = Gridvisor(home, cache)
        own("host", "box", "up")
        try:
            image = timed(lambda: own("image", "build", "xen-tools-bench", "--include", "cpio"))
            first = timed(own.create_all)
            own.remove_all()
            again = timed(own.create_all)
        finally:
            own("host", "box", "rm", "--yes")
            own("image", "rm", "xen-tools-bench")  # so that it is built the next time, too
        show("gridvisor, its image built", [image])
        show(f"gridvisor, {GUESTS} guests, the image not in the box yet", [first])
        show(f"gridvisor, {GUESTS} guests, warm", [again])
        print(f"xen-create-image takes {cold / (image + first):.1f} times as long cold, {warm / again:.1f} times warm")


if __name__ == "__main__":
    main()
