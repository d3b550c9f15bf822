"""How this machine gets to the guests of a network, to which it may have no route."""

from __future__ import annotations

from dataclasses import dataclass

from gridvisor.run.wrapped import enter_netns


@dataclass(frozen=True, slots=True)
class Way:
    """`enter` are the words before a command that is to be among the guests; `proxy_command` is for an ssh that is not
    (ssh_config(5)), and empty where `enter` leads there.

    A connection is given `patience_s` at least: logins that are given up and tried again keep an emulated host busy.
    """

    enter: tuple[str, ...] = ()
    proxy_command: str | None = None
    patience_s: int = 0


def through_namespace(namespace: str) -> Way:
    """The way to guests of a network namespace of this machine."""
    return Way(enter_netns(namespace))
