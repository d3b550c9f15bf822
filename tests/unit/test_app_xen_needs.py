"""What a Xen host lacks, by what it says of itself."""

from __future__ import annotations

import pytest

from gridvisor.app.finding import Verdict
from gridvisor.app.xen_needs import findings

GOOD = """\
user 0
dom0 control_d
tool xl
tool xenstore-read
tool lvcreate
tool thin_check
tool mke2fs
tool socat
tool zstd
tool ip
tool nsenter
tool losetup
module xen-blkback
module xen-netback
module bridge
module veth
module loop
module dm-thin-pool
total_memory 4095
free_memory 3540
xen_version 4.20.5-pre
xen_commandline dom0_mem=512M,max:512M bootscrub=0
autoballoon off
group 432013312 21470642176
pool twi-a-tz-- 21017657344 1.81
"""


def missing(said: str) -> set[str]:
    return {one.what for one in findings(said) if one.verdict is Verdict.MISSING}


def test_a_host_that_has_it_all_lacks_nothing() -> None:
    assert missing(GOOD) == set()


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [
        ("user 0", "user 1000", "root"),
        ("tool zstd\n", "", "zstd"),
        ("module veth\n", "", "kernel modules"),
        ("dom0 control_d", "dom0 ", "Xen"),
        ("dom0_mem=512M,max:512M ", "", "memory of dom0"),
        ("autoballoon off", "autoballoon on", "autoballoon"),
        ("free_memory 3540", "free_memory 100", "memory"),
        ("group 432013312 21470642176\n", "", "volume group vg0"),
        ("21017657344 1.81", "21017657344 95.00", "thin pool"),
    ],
)
def test_what_it_lacks_is_named_with_its_mend(was: str, now: str, what: str) -> None:
    assert was in GOOD
    said = GOOD.replace(was, now)
    assert missing(said) == {what}
    assert all(one.mend for one in findings(said) if one.verdict is Verdict.MISSING)


def test_autoballoon_that_nobody_spoke_of_is_off_where_dom0_has_a_fixed_memory() -> None:
    assert missing(GOOD.replace("autoballoon off\n", "")) == set()
    silent = GOOD.replace("autoballoon off\n", "").replace("dom0_mem=512M,max:512M ", "")
    assert missing(silent) == {"memory of dom0", "autoballoon"}


def test_without_a_thin_pool_clones_are_larger_and_nothing_is_missing() -> None:
    said = GOOD.replace("pool twi-a-tz-- 21017657344 1.81\n", "")
    assert missing(said) == set()
    assert [one.verdict for one in findings(said) if one.what == "thin pool"] == [Verdict.NOTE]


def test_a_machine_that_says_nothing_lacks_everything() -> None:
    assert {"Xen", "root", "lvm2", "volume group vg0"} <= missing("")
