"""A place inside a place: sudo, a chroot or a network namespace, around any other Target. They compose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gridvisor.run.command import Command, Result, Secret
from gridvisor.run.copying import get_through, put_through
from gridvisor.run.target import Target, checked


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Commands of `inner` with `prefix` in front of them."""

    inner: Target
    prefix: tuple[str, ...]
    name: str

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """See Target.run. The environment goes through `env`, since sudo and chroot do not hand it on."""
        words = (*self.prefix, *env_words(command.env), *command.argv)
        result = self.inner.run(Command(words, stdin=command.stdin), timeout_s=timeout_s, check=False)
        return checked(replace(result, command=command, where=self.name), check=check)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        """See Target.put."""
        put_through(self, source, destination, timeout_s=timeout_s)

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        """See Target.get."""
        get_through(self, source, destination, timeout_s=timeout_s)


def env_words(env: Mapping[str, str]) -> tuple[str, ...]:
    """The words `env KEY=VALUE …` to put before a command; secrets stay secret."""
    if not env:
        return ()
    pairs = ((f"{key}={value}", value) for key, value in env.items())
    return ("env", *(Secret(pair) if isinstance(value, Secret) else pair for pair, value in pairs))


def sudo(inner: Target) -> Wrapped:
    """`inner` as root. Never asks for a password: sudo(8) then fails, and says so."""
    return Wrapped(inner, ("sudo", "-n", "--"), f"{inner.name}(root)")


def chroot(inner: Target, root: str) -> Wrapped:
    """`inner` with the folder `root` as `/` (chroot(8))."""
    return Wrapped(inner, ("chroot", root), f"{inner.name}:{root}")


def netns(inner: Target, namespace: str) -> Wrapped:
    """`inner` inside a network namespace that `ip netns` made.

    nsenter(1) and not `ip netns exec`, which also makes a mount namespace and mounts /sys anew for each command.
    """
    return Wrapped(inner, enter_netns(namespace), f"{inner.name}@{namespace}")


def enter_netns(namespace: str) -> tuple[str, ...]:
    """The words before a command that move it into the network namespace of that name."""
    return ("nsenter", f"--net=/run/netns/{namespace}", "--")
