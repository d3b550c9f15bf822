"""What a guest's processes use, from the recorded /proc of a running one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gridvisor.monitor.uml.process import use_of

PROC = Path(__file__).resolve().parents[1] / "data" / "proc"
SANDBOX = 21221  # bwrap, which has another one below it, which has the kernel, which has the guest's processes
KERNEL = 21223
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def test_the_time_of_all_descendants_counts_and_of_memory_the_largest() -> None:
    use = use_of(SANDBOX, proc=PROC)
    # Summed by hand: 68+94+30+78 of the kernel (with its ended children), 44 of the guest's processes.
    assert use.cpu_s == 314 / TICKS_PER_S
    assert use.held_mib == 20958 * PAGE_BYTES >> 20


def test_a_process_in_the_middle_counts_only_what_is_below_it() -> None:
    assert use_of(21251, proc=PROC).cpu_s == 30 / TICKS_PER_S
    assert use_of(KERNEL, proc=PROC) == use_of(SANDBOX, proc=PROC)


@pytest.mark.parametrize("missing", ["stat", "statm", "task/21251/children"])
def test_a_process_that_has_just_ended_does_not_disturb_the_others(tmp_path: Path, missing: str) -> None:
    proc = tmp_path / "proc"
    shutil.copytree(PROC, proc)
    (proc / "21251" / missing).unlink()
    assert use_of(SANDBOX, proc=proc).cpu_s == (314 - 30) / TICKS_PER_S


def test_nothing_is_used_when_all_is_over(tmp_path: Path) -> None:
    use = use_of(SANDBOX, proc=tmp_path)
    assert (use.cpu_s, use.held_mib) == (0, 0)


def test_a_name_with_blanks_and_parentheses_is_read_past(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    shutil.copytree(PROC, proc)
    stat = proc / "21251" / "stat"
    stat.write_text(stat.read_text().replace("(uml-userspace)", "(a) S 1 (b c) 9)"))
    assert use_of(SANDBOX, proc=proc) == use_of(SANDBOX, proc=PROC)
