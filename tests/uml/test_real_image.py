"""A small image built for real from the mirror: what is in it, that it is found again, and a build that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gridvisor.core.events import Bus, Event
from gridvisor.core.places import Places
from gridvisor.image.build import build_image
from gridvisor.image.inspect import is_ext4
from gridvisor.image.recipe import Recipe
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.run.local import Local

pytestmark = pytest.mark.uml

SMALL = Recipe("small", "trixie", packages=("busybox-static",), steps=("echo made > /etc/made",), size_mib=1024)

BUILD = """
import sys
from pathlib import Path
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.image.build import build_image
from gridvisor.image.recipe import Recipe
from gridvisor.package.mirror import mirror_of_this_machine
from gridvisor.run.local import Local
places = Places(Path(sys.argv[1]), Path(sys.argv[1]))
recipe = Recipe("small", "trixie", packages=("busybox-static",), steps=("echo made > /etc/made",), size_mib=1024)
build_image(recipe, places=places, mirror=mirror_of_this_machine(Local()), target=Local(), bus=Bus())
"""


def build(places: Places, events: list[Event]) -> object:
    mirror = mirror_of_this_machine(Local())
    return build_image(SMALL, places=places, mirror=mirror, target=Local(), bus=Bus(events.append))


def test_a_killed_build_leaves_no_image_and_the_next_one_makes_it(tmp_path: Path) -> None:
    places = Places(tmp_path, tmp_path)
    killed = subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path)], start_new_session=True)
    images = tmp_path / "images"
    end = time.monotonic() + 60
    while not list(images.glob(".*/tree")) and killed.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert [path for path in images.glob("*") if not path.name.startswith(".")] == []

    events: list[Event] = []
    image = build(places, events)
    assert events
    assert is_ext4(image.path)
    assert image.path.stat().st_mode & 0o222 == 0
    assert "busybox-static" in {package.name for package in image.packages}
    said = subprocess.run(["debugfs", "-R", "cat /etc/made", image.path], capture_output=True, text=True, check=True)
    assert said.stdout == "made\n"

    events.clear()
    assert build(places, events).id == image.id
    assert events == [], "a second build of the same is a look into the store"
