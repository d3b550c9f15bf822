"""A network of guests in a Xen host: bridges in dom0, and a namespace there with dom0's only leg on each of them.

The bridges themselves have no address, so that guests do not see dom0, and dom0's own routes are not touched: two
sites may have the same subnets. Nothing leads out. Names of bridges and namespace carry the tag of our state folder.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from gridvisor.core.files import write_whole
from gridvisor.core.places import Places
from gridvisor.network.address import gateway_of, tap_name
from gridvisor.network.publish import LOOPBACK, check_free
from gridvisor.network.tenants import Tenants
from gridvisor.network.way import Way, through_namespace
from gridvisor.network.wiring import Published, Wiring
from gridvisor.run.command import Command, script
from gridvisor.run.detached import Detached
from gridvisor.run.local import Local
from gridvisor.run.ssh import Ssh
from gridvisor.run.target import Target

_COMMAND_S = 60.0
_FORWARD = "forward-"
_PATIENCE_S = 40
# socat(1) waits for a guest that boots: logins that failed and began anew took more of an emulated dom0's processors
# than the guest did that was waited for.
_AGAIN = f"retry={_PATIENCE_S // 2},interval=1"
BOOT = "/var/lib/gridvisor/networks"  # scripts for a dom0 to run when it boots, before it creates guests again
# What is there stays; what a killed run left half made is finished. Four words for each bridge; its leg joins it last.
_NETWORK = """\
PATH=$PATH:/usr/sbin:/sbin
namespace=$1
shift
[ -e "/run/netns/$namespace" ] || ip netns add "$namespace"
[ -e "/sys/class/net/$2/master" ] || ip -n "$namespace" link set lo up
while [ $# -gt 0 ]; do
    bridge=$1 leg=$2 name=$3 address=$4
    shift 4
    [ ! -e "/sys/class/net/$leg/master" ] || continue
    if ! ip link show dev "$bridge" >/dev/null 2>&1; then
        ip link add "$bridge" type bridge
        [ ! -d /proc/sys/net/ipv6 ] || echo 1 >"/proc/sys/net/ipv6/conf/$bridge/disable_ipv6"
    fi
    ip link set "$bridge" up
    if ! ip -n "$namespace" address show dev "$name" 2>/dev/null | grep -qF "inet $address "; then
        ip link delete dev "$leg" 2>/dev/null || :
        ip link add "$leg" type veth peer name "$name" netns "$namespace"
        ip -n "$namespace" address add "$address" dev "$name"
    fi
    ip -n "$namespace" link set "$name" up
    ip link set "$leg" up
    ip link set "$leg" master "$bridge"
done
"""
# The first line of the boot script is its digest. Few processes: each is a tenth of a second of an emulated dom0.
_ENSURE = """\
IFS= read -r noted 2>/dev/null <"$1" || noted=''
if [ "$noted" != "# $3" ]; then
    mkdir -p "${1%/*}"
    printf '# %s\\n%s' "$3" "$2" >"$1.new"
    mv "$1.new" "$1"
fi
eval "$2"
"""
_CLEAR = """\
PATH=$PATH:/usr/sbin:/sbin
rm -f "$1"
namespace=$2
shift 2
[ ! -e "/run/netns/$namespace" ] || ip netns delete "$namespace"
for link; do
    ip link delete dev "$link" 2>/dev/null || :
done
"""


@dataclass(frozen=True, slots=True)
class Dom0Network:
    """The network `name` of this state folder in the dom0 `target`; it has an address in each of `segments`, bridges by
    the name that guests know. Every verb may be called by several processes at once, and again after any was killed."""

    places: Places
    name: str
    segments: tuple[tuple[str, IPv4Network], ...]
    target: Target = field(kw_only=True)

    @property
    def namespace(self) -> str:
        """The name of dom0's namespace, as `ip netns` lists it."""
        return f"gv-{self.places.tag}-{self.name}"

    @property
    def bridge(self) -> str:
        """What guests know the first bridge by."""
        return self.segments[0][0]

    @property
    def subnet(self) -> IPv4Network:
        """The subnet of the first bridge."""
        return self.segments[0][1]

    @property
    def folder(self) -> Path:
        """Files of what runs on this machine for the network; every `*.pid` in it is a Detached process."""
        return _folder(self.places, self.name)

    @property
    def way(self) -> Way:
        """How this machine gets to the guests."""
        if not isinstance(self.target, Ssh):
            return through_namespace(self.namespace)
        *words, remote = self.target.local(Command(self._into(f"TCP:%h:%p,{_AGAIN}"))).argv
        # ssh hands it to a shell, and every % but those of %h and %p is doubled for ssh itself.
        proxy_command = f"{shlex.join(words).replace('%', '%%')} {shlex.quote(remote)}"
        return Way(proxy_command=proxy_command, patience_s=_PATIENCE_S)

    def bridge_of(self, network: str) -> str:
        """What dom0 calls the bridge of that one of the segments."""
        return tap_name(self.places.tag, f"{self.name}/{network}", 0)

    def wiring(self, bridges: dict[str, str], published: tuple[Published, ...]) -> Wiring:
        """For a guest with these interfaces: nothing, since Xen's own script joins them to their bridges."""
        return Wiring()

    def require_free(self, port: int) -> None:
        """Raise Refused when somebody else listens at that port of 127.0.0.1."""
        if self._forwarder(port).pid() is None:
            check_free(port)

    def publish(self, published: Sequence[Published]) -> None:
        """Have these ports answer on this machine, and no others. Raises Refused for one that is taken."""
        wanted = {one.port: self._script(one) for one in published}
        with self._tenants.alone():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in self.folder.glob(f"{_FORWARD}*.sh"):
                port = int(file.stem.removeprefix(_FORWARD))
                if wanted.get(port) != file.read_text():
                    self._forwarder(port).stop()
                    file.unlink()
            for port, source in wanted.items():
                forwarder, file = self._forwarder(port), self.folder / f"{_FORWARD}{port}.sh"
                if forwarder.pid() is None:
                    check_free(port)
                    write_whole(file, source, mode=0o700)
                    listen = f"TCP-LISTEN:{port},bind={LOOPBACK},reuseaddr,fork"
                    # socat splits what it is to run at blanks and colons, so that it gets a short name.
                    there = ("/bin/sh", "-euc", 'cd "$1"; exec socat "$2" "EXEC:./$3"', "sh")
                    words = (*there, str(self.folder), listen, file.name)
                    forwarder.start(Local(), words, log=self.folder / f"{_FORWARD}{port}.log")

    def _forwarder(self, port: int) -> Detached:
        return Detached(self.folder / f"{_FORWARD}{port}.pid")

    def _script(self, one: Published) -> str:
        """What connects its stdin and stdout to the guest's port."""
        command = Command(self._into(f"TCP:{one.address}:{one.guest_port}"))
        words = self.target.local(command).argv if isinstance(self.target, Ssh) else command.argv
        return f"#!/bin/sh\nexec {shlex.join(words)}\n"

    def _into(self, address: str) -> tuple[str, ...]:
        """The command of dom0's that connects its stdin and stdout to that address among the guests."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}", "--", "socat", "-", address)

    def ensure(self) -> None:
        """Bring up the bridges and the namespace; what is there is not touched."""
        words = [
            word
            for network, subnet in self.segments
            for word in (
                self.bridge_of(network),
                self._leg_of(network),
                network,
                f"{gateway_of(subnet)}/{subnet.prefixlen}",
            )
        ]
        with self._tenants.alone():
            source = f"set -- {shlex.join((self.namespace, *words))}\n{_NETWORK}"
            self._run(_ENSURE, self._boot, source, hashlib.sha256(source.encode()).hexdigest()[:16])

    @contextmanager
    def users(self) -> Iterator[None]:
        """Keep `remove_if_idle` away: for whoever brings up the network and has no guest on it yet."""
        with self._tenants.coming():
            yield

    def remove_if_idle(self, in_use: Callable[[], bool]) -> bool:
        """Remove the network, unless one of its `users` needs it or it is `in_use`; true when it is gone."""
        with self._tenants.none_coming() as nobody_comes:
            if not nobody_comes or in_use():
                return False
            _unpublish(self.folder)
            links = [name for network, _ in self.segments for name in (self.bridge_of(network), self._leg_of(network))]
            self._run(_CLEAR, self._boot, self.namespace, *links)
            shutil.rmtree(self.folder, ignore_errors=True)
            return True

    def _leg_of(self, network: str) -> str:
        return tap_name(self.places.tag, f"{self.name}/{network}", 1)

    @property
    def _boot(self) -> str:
        return f"{BOOT}/{self.namespace}.sh"

    @property
    def _tenants(self) -> Tenants:
        return Tenants(self.folder)

    def _run(self, source: str, *words: str) -> None:
        self.target.run(script(source, *words), timeout_s=_COMMAND_S)


def forget(places: Places, name: str) -> None:
    """Remove what this machine has of the network `name`, whose dom0 is no more."""
    folder = _folder(places, name)
    with Tenants(folder).alone():
        _unpublish(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _folder(places: Places, name: str) -> Path:
    return places.state / "networks" / name


def _unpublish(folder: Path) -> None:
    for pid_file in sorted(folder.glob("*.pid")):
        Detached(pid_file).stop()
