"""The words that the initramfs reads are exactly those that monitors write."""

from pathlib import Path

import gridvisor.kernel
from gridvisor.kernel.parameters import IdentityDevice, boot_parameters

INIT = (Path(gridvisor.kernel.__file__).parent / "initramfs" / "init").read_text()


def test_root_alone_is_enough() -> None:
    assert boot_parameters("xvda2") == ("gridvisor.root=xvda2",)


def test_every_part_is_named() -> None:
    assert boot_parameters("ubda", IdentityDevice("ubdb", "00ff"), modules="ubdc", swaps=["ubdd", "ubde"]) == (
        "gridvisor.root=ubda",
        "gridvisor.identity=ubdb:00ff",
        "gridvisor.modules=ubdc",
        "gridvisor.swap=ubdd",
        "gridvisor.swap=ubde",
    )


def test_init_knows_every_word() -> None:
    for word in boot_parameters("a", IdentityDevice("b", "c"), modules="d", swaps=["e"]):
        assert f"{word.partition('=')[0]}=*" in INIT
