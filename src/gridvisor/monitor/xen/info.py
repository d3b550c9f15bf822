"""What `xl info` says of the host (xl(1))."""

from __future__ import annotations

from gridvisor.core.errors import ToolOutput


def parse_info(said: str) -> int:
    """The memory in MiB that no domain has. Raises ToolOutput when it is not said."""
    for line in said.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "free_memory":
            try:
                return int(value)
            except ValueError as error:
                raise ToolOutput(f"xl info gives no number of MiB that are free: '{line}'.") from error
    raise ToolOutput(f"xl info does not say how much memory is free:\n{said[:400]}")
