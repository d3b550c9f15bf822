"""Whatever domain is written is read back the same, and what is written is xl's syntax."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridvisor.core.errors import Refused
from gridvisor.domain.config import read_config
from gridvisor.domain.keys import KEYS, LARGEST_MEMORY_MIB, MOST_VCPUS
from gridvisor.domain.model import NAME, ConfigValue, Disk, DiskFormat, Domain, DomainType, OnEnd, Vif
from gridvisor.domain.writer import write_config

# libxlu_cfg_l.l and libxlu_cfg_y.y of Xen, in one expression: assignments of atoms and (nested) lists of them
_XL_WORD = re.compile(
    r"""[a-z][_0-9a-z]*(?=\ =) | [0-9][0-9a-fx]* | "(?:[^"\\\n]|\\(?:["\\]|[abfnrtv]))*" | [,\[\]=] | \n | [ ]""",
    re.VERBOSE,
)
_KNOWN = {key.name for key in KEYS}

visible = st.characters(exclude_categories=("Cc", "Cs"))
words = st.text(visible, min_size=1, max_size=30)
odd = st.text(st.one_of(st.sampled_from("\"'\\%#,=[];: \t"), visible), min_size=1, max_size=30).filter(
    lambda text: "\t" not in text
)
atoms = st.text(st.one_of(visible, st.sampled_from("\a\b\t\n\v\f\r\"'\\")), max_size=20)
plain = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=","), min_size=1, max_size=12).filter(
    lambda text: text == text.strip()
)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
macs = st.integers(1, 2**24 - 1).map(lambda n: "00:16:3e:" + ":".join(f"{n:06x}"[i : i + 2] for i in (0, 2, 4)))
names = st.from_regex(NAME, fullmatch=True).filter(str.isascii)
devices = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", fullmatch=True)
maybe = st.none


def disk(vdev: str, cdrom: bool) -> st.SearchStrategy[Disk]:
    return st.builds(
        Disk,
        target=odd,
        vdev=st.just(vdev),
        format=st.sampled_from(DiskFormat),
        writable=st.just(False) if cdrom else st.booleans(),
        cdrom=st.just(cdrom),
        backend=maybe() | plain,
        script=maybe() | plain,
        options=st.lists(st.sampled_from(("discard", "direct-io-safe", "backendtype=phy")), unique=True).map(tuple),
    )


vif = st.builds(
    Vif,
    bridge=maybe() | devices,
    ip=maybe() | addresses,
    model=maybe() | plain,
    script=maybe() | plain,
    backend=maybe() | plain,
    vifname=maybe() | devices,
    rate=maybe() | st.sampled_from(("10Mb/s", "250KB/s@50ms")),
    type=maybe() | st.sampled_from(("vif", "ioemu")),
    options=st.sampled_from(((), ("devid=0",), ("mtu=9000", "trusted=1"))),
)
values: st.SearchStrategy[ConfigValue] = st.recursive(
    atoms | st.integers(0, 2**63 - 1), lambda inner: st.lists(inner, max_size=4), max_leaves=6
)
keys = st.from_regex(r"[a-z][_0-9a-z]{0,12}", fullmatch=True).map(lambda key: f"{key}_x")


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    memory = draw(st.integers(1, LARGEST_MEMORY_MIB))
    letters = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=4))
    addresses_of_vifs = draw(st.lists(maybe() | macs, max_size=3, unique=True))
    fields: dict[str, Any] = {
        "vifs": tuple(
            Vif(mac=mac, **{name: getattr(other, name) for name in Vif.__dataclass_fields__ if name != "mac"})
            for mac in addresses_of_vifs
            for other in [draw(vif)]
        ),
        "disks": tuple(draw(disk(f"xvd{letter}1", draw(st.booleans()))) for letter in letters),
    }
    return Domain(
        name=draw(names),
        memory_mib=memory,
        maxmem_mib=draw(maybe() | st.integers(memory, LARGEST_MEMORY_MIB)),
        vcpus=draw(st.integers(1, MOST_VCPUS)),
        type=draw(st.sampled_from(DomainType)),
        kernel=draw(maybe() | odd),
        ramdisk=draw(maybe() | odd),
        bootloader=draw(maybe() | words),
        root=draw(maybe() | odd),
        extra=draw(maybe() | odd),
        dhcp=draw(st.booleans()),
        ip=draw(maybe() | addresses),
        netmask=draw(maybe() | st.integers(0, 32).map(lambda n: _mask(n))),
        gateway=draw(maybe() | addresses),
        hostname=draw(maybe() | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,5})?", fullmatch=True)),
        on_poweroff=draw(st.sampled_from(OnEnd)),
        on_reboot=draw(st.sampled_from(OnEnd)),
        on_crash=draw(st.sampled_from(OnEnd)),
        other=draw(st.dictionaries(keys, values, max_size=4)),
        **fields,
    )


def _mask(bits: int) -> str:
    number = (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


@settings(max_examples=200, deadline=None)
@given(domains())
def test_what_is_written_is_read_back_the_same(domain: Domain) -> None:
    text = write_config(domain)
    assert read_config(text, "written").domain == domain


@settings(max_examples=100, deadline=None)
@given(domains())
def test_what_is_written_is_xl_s_syntax(domain: Domain) -> None:
    text = write_config(domain)
    position = depth = 0
    while position < len(text):
        word = _XL_WORD.match(text, position)
        assert word is not None, text[position : position + 40]
        depth += {"[": 1, "]": -1}.get(word[0], 0)
        position = word.end()
    assert depth == 0


def test_every_field_is_written() -> None:
    written = {key.attribute for key in KEYS if key.write} | {"other"}
    assert written == set(Domain.__dataclass_fields__)


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x85"])
def test_what_xl_cannot_read_is_refused(character: str) -> None:
    with pytest.raises(Refused, match="U\\+00"):
        write_config(Domain("a", other={"key": f"a{character}"}))
