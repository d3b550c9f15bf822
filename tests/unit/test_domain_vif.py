"""Network interfaces' strings, as xl-network-configuration(5) has them, and each way to get one wrong."""

from __future__ import annotations

import pytest

from gridvisor.core.errors import Refused
from gridvisor.domain.model import Vif
from gridvisor.domain.parameters import Malformed
from gridvisor.domain.vif import parse_vif, render_vif


@pytest.mark.parametrize(
    ("text", "vif"),
    [
        ("", Vif()),
        (" , ", Vif()),
        ("mac=00:16:3E:00:00:0A", Vif(mac="00:16:3e:00:00:0a")),
        ("mac=00:16:3e:00:00:01, bridge=br0,", Vif(mac="00:16:3e:00:00:01", bridge="br0")),
        ("ip=10.0.0.1 fd00::1/64,script=vif-route", Vif(ip="10.0.0.1 fd00::1/64", script="vif-route")),
        (
            "type=ioemu,model=e1000,vifname=vm1.0,backend=net",
            Vif(type="ioemu", model="e1000", vifname="vm1.0", backend="net"),
        ),
        ("rate=1MB/s@20ms", Vif(rate="1MB/s@20ms")),
        ("devid=1,mtu=9000", Vif(options=("devid=1", "mtu=9000"))),
    ],
)
def test_parse_and_back(text: str, vif: Vif) -> None:
    assert parse_vif(text) == vif
    assert parse_vif(render_vif(vif)) == vif


@pytest.mark.parametrize(
    ("text", "offset", "says"),
    [
        ("br0", 0, "'br0' is not KEY=VALUE"),
        ("bridge=br0, 00:16:3e:00:00:01", 12, "is not KEY=VALUE"),
        ("mac=00:16:3e:00:00", 4, "not a MAC address"),
        ("mac=01:16:3e:00:00:01", 4, "a group's address"),
        ("mac=00:00:00:00:00:00", 4, "zeros"),
        ("mac= ", 5, "'mac' has no value"),
        ("brigde=br0", 0, "no parameter 'brigde'"),
        ("bridge=br0,bridge=br1", 11, "'bridge' is given twice"),
        ("bridge=../etc", 7, "not a name of a network device"),
        ("vifname=averyveryverylongname", 8, "not a name of a network device"),
        ("ip=10.0.0.256", 3, "not an IP address"),
        ("rate=fast", 5, "not a rate"),
        ("type=virtio", 5, "the type 'virtio' is not known"),
        ("bridge=b\x1b", 8, "control character U+001B"),
    ],
)
def test_malformed(text: str, offset: int, says: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_vif(text)
    assert says in caught.value.text
    assert caught.value.offset == offset


def test_a_hint_for_a_misspelling() -> None:
    with pytest.raises(Malformed) as caught:
        parse_vif("brigde=br0")
    assert caught.value.hint == "did you mean 'bridge'?"


@pytest.mark.parametrize("vif", [Vif(bridge="a,b"), Vif(script=""), Vif(model=" x")])
def test_what_a_string_cannot_say_is_refused(vif: Vif) -> None:
    with pytest.raises(Refused):
        render_vif(vif)
