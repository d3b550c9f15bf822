"""A guest as JSON, for the monitors that note what they started; the domain itself in xl's syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gridvisor.domain.config import read_config
from gridvisor.domain.writer import write_config
from gridvisor.monitor.protocol import Attachment, Guest, Nic, VolumeUse


def record_of(guest: Guest) -> dict[str, Any]:
    """The JSON object of `guest`."""
    return {
        "domain": write_config(guest.domain),
        "volumes": [
            {
                "use": volume.use,
                "path": str(volume.path),
                "writable": volume.writable,
                "backing": None if volume.backing is None else str(volume.backing),
            }
            for volume in guest.volumes
        ],
        "nics": [{"mac": nic.mac, "tap": nic.tap} for nic in guest.nics],
        "namespace": guest.namespace,
        "address": guest.address,
        "identity_id": guest.identity_id,
        "before": [list(argv) for argv in guest.before],
        "companions": [list(argv) for argv in guest.companions],
        "after": [list(argv) for argv in guest.after],
    }


def guest_of(record: dict[str, Any]) -> Guest:
    """The guest of a JSON object that `record_of` made."""
    return Guest(
        domain=read_config(record["domain"], "launch.json").domain,
        volumes=tuple(
            Attachment(
                VolumeUse(volume["use"]),
                Path(volume["path"]),
                volume["writable"],
                None if volume["backing"] is None else Path(volume["backing"]),
            )
            for volume in record["volumes"]
        ),
        nics=tuple(Nic(nic["mac"], nic["tap"]) for nic in record["nics"]),
        namespace=record["namespace"],
        address=record["address"],
        identity_id=record["identity_id"],
        before=tuple(tuple(argv) for argv in record["before"]),
        companions=tuple(tuple(argv) for argv in record["companions"]),
        after=tuple(tuple(argv) for argv in record["after"]),
    )
