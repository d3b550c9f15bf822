"""The steps of `host prepare` that change disks, done by real LVM; the whole of it is tests/campaigns/prepare.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import XenBench
from gridvisor.app.prepare import step
from gridvisor.run.command import CommandFailed, script
from gridvisor.run.target import Target

pytestmark = pytest.mark.box

GROUP = "trial"


@pytest.fixture
def dom0(xen_bench: XenBench) -> Iterator[Target]:
    """dom0, with two empty disks that are files of it."""
    target = xen_bench.target
    run(target, "for n in 70 71; do truncate -s 64M /root/$n.disk; losetup /dev/loop$n /root/$n.disk; done")
    yield target
    run(target, "vgremove -q --yes trial || :; pvremove -q --yes /dev/loop70 /dev/loop71 || :")
    run(target, "for n in 70 71; do losetup -d /dev/loop$n; rm /root/$n.disk; done")


def run(target: Target, source: str, *words: str) -> str:
    return target.run(script(source, *words), timeout_s=120).stdout


def test_disks_join_a_group_and_have_a_pool_each_and_all_of_it_may_be_done_twice(dom0: Target) -> None:
    for disk in ("/dev/loop70", "/dev/loop71"):
        for _ in range(2):
            run(dom0, step._JOIN, GROUP, disk)
            run(dom0, step._POOL, GROUP, disk, f"thin-{disk[-2:]}")
    said = run(dom0, "lvs --noheadings -o lv_name,segtype,data_percent trial")
    assert [line.split()[:2] for line in said.splitlines()] == [["thin-70", "thin-pool"], ["thin-71", "thin-pool"]]
    on = run(dom0, "pvs --segments --noheadings -o pv_name,lv_name --select 'vg_name = trial && lv_name =~ tdata'")
    assert [line.split() for line in on.splitlines()] == [
        ["/dev/loop70", "[thin-70_tdata]"],
        ["/dev/loop71", "[thin-71_tdata]"],
    ]


def test_what_a_killed_run_left_is_taken_and_what_somebody_put_there_is_not(dom0: Target) -> None:
    run(dom0, "pvcreate -q /dev/loop70; mke2fs -q /dev/loop71")
    run(dom0, step._JOIN, GROUP, "/dev/loop70")
    with pytest.raises(CommandFailed, match="is not empty any more"):
        run(dom0, step._JOIN, GROUP, "/dev/loop71")
    assert run(dom0, "vgs --noheadings -o pv_count trial").strip() == "1"
    assert "ext2" in run(dom0, "blkid -p /dev/loop71")
