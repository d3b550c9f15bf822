"""The reference page agrees with the table of keys, and its example is read; GRIDVISOR_REGENERATE=1 writes it anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gridvisor.domain.config import read_config
from gridvisor.domain.keys import KEYS, reference_table
from gridvisor.domain.model import Domain

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "domain-config.md"
_TABLE = re.compile(r"(?<=<!-- keys -->\n).*?(?=<!-- end of keys -->)", re.DOTALL)


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text()
    if os.environ.get("GRIDVISOR_REGENERATE"):
        PAGE.write_text(_TABLE.sub(lambda _: reference_table(), page))
        page = PAGE.read_text()
    assert _TABLE.findall(page) == [reference_table()]


def test_the_page_s_examples_are_read() -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        assert read_config(example, "example", {"vmid": "3"}).domain.name


def test_the_defaults_told_are_those_of_the_model() -> None:
    told = {key.attribute: key.default.strip("`") for key in KEYS if key.write}
    domain = Domain("a")
    for attribute in ("type", "memory_mib", "vcpus", "on_poweroff", "on_reboot", "on_crash"):
        assert told[attribute] == str(getattr(domain, attribute))
