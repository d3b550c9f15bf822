"""What machines are like, read from what a guest prints, and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridvisor.trial.compare import changes, risks
from gridvisor.trial.facts import Facts, parse_facts, read_facts, write_facts
from gridvisor.trial.model import Blame, Weight

PRINTED = """\
== package
bash 5.2.37-2+b5
xrootd-server 5.8.1-1
== mode
600 root:root /etc/grid-security/hostkey.pem
644 root:root /etc/with space
777 root:root /etc/mtab
== folder
755 root:root /etc
700 munge:munge /etc/munge
== digest
aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd  /etc/grid-security/hostkey.pem
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef  /etc/with space
== unit
xrootd@se.service there
xrootd@se.service enabled
== failed
bdii.service failed
== port
tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=301,fd=6))
tcp   LISTEN 0      64                 *:2049            *:*
udp   UNCONN 0      0            0.0.0.0:40123     0.0.0.0:*    users:(("rpc.statd",pid=99,fd=8))
== user
root 0
xrootd 105
"""


def test_facts_are_read_from_what_a_guest_prints() -> None:
    assert parse_facts(PRINTED).kinds == {
        "package": {"bash": "5.2.37-2+b5", "xrootd-server": "5.8.1-1"},
        "file": {
            "/etc/grid-security/hostkey.pem": "600 root:root aaaaaaaaaaaaaaaa",
            "/etc/with space": "644 root:root 0123456789abcdef",
            "/etc/mtab": "777 root:root link",
        },
        "folder": {"/etc": "755 root:root", "/etc/munge": "700 munge:munge"},
        "unit": {"xrootd@se.service": "enabled", "bdii.service": "failed"},
        "port": {"tcp 0.0.0.0:22": "sshd", "tcp *:2049": "kernel", "udp 0.0.0.0:some": "rpc.statd"},
        "user": {"root": "0", "xrootd": "105"},
    }


def test_facts_come_back_from_a_file_and_none_from_no_file(tmp_path: Path) -> None:
    facts = {"se": parse_facts(PRINTED)}
    write_facts(facts, tmp_path / "facts.json")
    assert read_facts(tmp_path / "facts.json") == facts
    assert read_facts(tmp_path / "none.json") == {}


def one(kind: str, what: str, value: str) -> dict[str, Facts]:
    kinds = parse_facts(PRINTED).kinds
    return {"se": Facts({**kinds, kind: {**kinds[kind], what: value}})}


BEFORE = {"se": parse_facts(PRINTED)}


def test_a_machine_that_did_not_change_has_no_change() -> None:
    assert changes(BEFORE, BEFORE) == ()
    assert changes({}, BEFORE) == ()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("file", "/etc/ld.so.cache"),
        ("file", "/etc/gridvisor/identity"),
        ("file", "/etc/passwd-"),
        ("unit", "run-r0123.service"),
        ("port", "tcp 127.0.0.1:some"),
        ("port", "tcp [::1]:some"),
    ],
)
def test_what_differs_after_any_start_is_no_change(kind: str, what: str) -> None:
    assert changes(BEFORE, one(kind, what, "600 root:root other")) == ()


def test_what_is_worth_a_look_comes_first() -> None:
    kinds = BEFORE["se"].kinds
    after = {
        "se": Facts(
            {
                **kinds,
                "package": {"bash": "5.3", "new": "1"},
                "file": {**kinds["file"], "/etc/with space": "644 root:root ffff", "/etc/new": "644 root:root 1"},
                "port": {**kinds["port"], "tcp 0.0.0.0:80": "nginx"},
            }
        )
    }
    assert [(found.kind, found.what) for found in changes(BEFORE, after)] == [
        ("port", "tcp 0.0.0.0:80"),
        ("package", "xrootd-server"),
        ("file", "/etc/with space"),
        ("file", "/etc/new"),
        ("package", "bash"),
        ("package", "new"),
    ]


@pytest.mark.parametrize(
    ("kind", "what", "value", "weight"),
    [
        ("file", "/etc/grid-security/hostkey.pem", "644 root:root aaaaaaaaaaaaaaaa", Weight.NO),
        ("file", "/etc/munge/munge.key", "644 munge:munge 11", Weight.NO),
        ("file", "/etc/shadow-", "644 root:shadow 11", Weight.NO),
        ("file", "/etc/munge/munge.key.dpkg-dist", "644 munge:munge 11", Weight.NO),
        ("file", "/etc/robot.p12", "644 root:root 11", Weight.NO),
        ("file", "/etc/apt/keyrings/repo.key", "644 root:root 11", None),
        ("file", "/etc/dbus-1/system.d/org.freedesktop.secrets.conf", "644 root:root 11", None),
        ("port", "tcp 0.0.0.0:80", "nginx", Weight.REMARK),
        ("port", "tcp *:80", "nginx", Weight.REMARK),
        ("unit", "xrootd@se.service", "failed", Weight.REMARK),
        ("file", "/etc/grid-security/hostkey.pem", "640 root:ssl aaaaaaaaaaaaaaaa", None),
        ("file", "/etc/with space", "666 root:root 0123456789abcdef", Weight.NO),
        ("file", "/etc/new", "666 root:root 11", Weight.NO),
        ("file", "/etc/link", "777 root:root link", None),
        ("folder", "/etc", "777 root:root", Weight.NO),
        ("folder", "/etc", "1777 root:root", None),
        ("folder", "/etc/munge", "711 munge:munge", Weight.REMARK),
        ("folder", "/etc/munge", "750 munge:munge", None),
        ("folder", "/etc/new", "755 root:root", None),
        ("port", "tcp 127.0.0.1:80", "nginx", None),
        ("port", "tcp 0.0.0.0:some", "nginx", None),
        ("package", "bash", "6", None),
    ],
)
def test_what_must_not_be_is_found(kind: str, what: str, value: str, weight: Weight | None) -> None:
    found = list(risks(changes(BEFORE, one(kind, what, value))))
    assert [risk.weight for risk in found] == ([weight] if weight else [])
    assert all(what in risk.what and "'se'" in risk.text for risk in found)
    assert {risk.blame for risk in found} <= {Blame.CONFIGURATION, Blame.MIDDLEWARE}
