"""Site files: what the shortest one means, and what is said of wrong ones, where, and all of it at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from gridvisor.cli.main import main
from gridvisor.core.errors import InputError, Refused
from gridvisor.site.check import load_site
from gridvisor.site.document import parse_document
from gridvisor.site.model import Site, User, site_schema

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALLEST = "site: small\nmachines:\n  ui:\n  ce:\n  wn: {count: 2}\n"

# What the file holds below `site: a`, and each problem that must be told, without its line, caret and hint.
WRONG = {
    "unknown key": ("machinse: {ui: }", ["1:1: 'machines' is missing", "2:1: unknown key 'machinse'"]),
    "unknown keys further in": (
        "machines:\n  ce: {memroy: 1GiB}\n  ui: {colour: red}\nusers: [{name: a, vo: dteam, mail: a@b}]",
        ["3:8: unknown key 'memroy'", "4:8: unknown key 'colour'", "5:30: unknown key 'mail'"],
    ),
    "keys that cannot be": (
        "machines:\n  UI: {role: ui}\n  ce: {volumes: {a: 1GiB}}\nnetworks:\n  9th: 10.0.0.0/24\npublish: {Mon: [1]}",
        [
            "3:3: 'UI' is not a name of small letters and digits, with hyphens between them",
            "6:3: '9th' is not a name of small letters, digits and hyphens that begins with a letter",
            "7:11: 'Mon' is not a name of small letters and digits, with hyphens between them",
        ],
    ),
    "a machine with the name of pydantic's mark": (
        "machines:\n  '[key]': {vcpus: 0}\n  ui: {volumes: {'[key]': x}}",
        [
            "3:3: '[key]' is not a name of small letters and digits, with hyphens between them",
            "3:20: input should be greater than or equal to 1, not 0",
            "4:27: 'x' is not a size such as '2GiB' or '512M'",
        ],
    ),
    "numbers in base 60": (
        "machines: {ui: {vcpus: 1:30}, ce: {count: 1:30.5}}",
        [
            "2:24: a whole number is wanted, not '1:30'",
            "2:43: a whole number is wanted, not '1:30.5'",
        ],
    ),
    "no machines": ("", ["1:1: 'machines' is missing"]),
    "sizes": (
        "machines:\n  ce: {memory: lots}\n  ui: {memory: 256}\n  se: {volumes: {data: 1.5KiB}}\n  mon: {memory: true}",
        [
            "3:16: 'lots' is not a size such as '2GiB' or '512M'",
            "4:16: 256 has no unit; a size is written '256MiB'",
            "5:24: '1.5KiB' is not a whole number of MiB, one at least",
            "6:17: True is not a size such as '256MiB'",
        ],
    ),
    "types": (
        "machines:\n  ui: {vcpus: 0}\n  ce: {vcpus: two}\n  se: {role: 1}\nvos: []",
        [
            "3:15: input should be greater than or equal to 1, not 0",
            "4:15: a whole number is wanted, not 'two'",
            "5:14: text is wanted, not 1",
            "6:6: 'vos' is empty",
        ],
    ),
    "a list of machines": ("machines: [ui]", ["2:11: a mapping is wanted, not a list"]),
    "role": (
        "machines:\n  ce2: {role: cee}\n  uu:",
        ["3:15: there is no role 'cee'", "4:3: 'uu' is no role's name, and no 'role' is given"],
    ),
    "one name for two machines": (
        "machines:\n  ui1: {role: ui}\n  ui: {count: 1}",
        ["3:3: two machines would be called 'ui1'", "4:3: two machines would be called 'ui1'"],
    ),
    "a long name": (
        f"domain: {'abcdefghi.' * 5}test\nmachines:\n  averylongname: {{role: ui}}",
        ["4:3: 'averylongname." + "abcdefghi." * 5 + "test' is longer than 64 letters"],
    ),
    "too little memory, and no such volume": (
        "machines:\n  se: {memory: 8MiB, volumes: {dat: 1GiB}}\n  ui: {volumes: {data: 1GiB}}",
        [
            "3:16: 8 MiB are too few; no guest boots in less than 64 MiB",
            "3:32: the role 'se' has no volume 'dat'",
            "4:18: the role 'ui' has no volume 'data'",
        ],
    ),
    "publish": (
        "machines: {mon: , ui: }\npublish:\n  mom: [9090]\n  mon: [9091]\n  ui: ['9091:80']",
        ["4:3: the site has no machine 'mom'", "6:7: port 9091 is published for 'mon' already"],
    ),
    "ports": (
        "machines: {mon: , ui: , ce: , se: }\npublish:\n  mon: [x]\n  ui: [1, 1]\n  ce: 70000\n  se: [80, true]",
        [
            "4:9: 'x' is not a port such as 9090, or 'HOSTPORT:PORT'",
            "5:7: port 1 is named twice",
            "6:7: 70000: ports go from 1 to 65535",
            "7:12: True is not a port such as 9090, or 'HOSTPORT:PORT'",
        ],
    ),
    "networks": (
        "networks: {site: 10.0.0.1/24, farm: 10.0.1.0/30, more: 127.0.0.0/8, odd: 7}\nmachines: {ui: }",
        [
            "2:18: '10.0.0.1/24' is not a network such as '10.20.0.0/24': 10.0.0.1/24 has host bits set",
            "2:37: '10.0.1.0/30' is no network for machines: at most /29, and not loopback or multicast",
            "2:56: '127.0.0.0/8' is no network for machines: at most /29, and not loopback or multicast",
            "2:74: 7 is not a network such as '10.20.0.0/24'",
        ],
    ),
    "overlap": (
        "networks:\n  site: 10.0.0.0/16\n  farm: 10.0.1.0/24\n  lo: 10.1.0.0/24\nmachines: {ui: }",
        ["4:9: 10.0.1.0/24 overlaps 10.0.0.0/16, the network 'site'", "5:3: 'lo' is the loopback's name"],
    ),
    "a network that a role needs": (
        "networks: {site: 10.0.0.0/24}\nmachines:\n  wn:",
        ["4:3: the role 'wn' needs a network 'farm'"],
    ),
    "too many machines": (
        "networks: {site: 10.0.0.0/29, farm: 10.0.1.0/24}\nmachines:\n  ce:\n  ui: {count: 5}",
        ["2:18: 6 machines are to be in 'site', and 10.0.0.0/29 has room for 5"],
    ),
    "two gateways": ("machines:\n  ce: {count: 2}", ["3:3: 'farm' would have 2 gateways: ce1, ce2"]),
    "addresses": (
        "machines:\n  ui: {address: 10.20.0.1}\n  ce: {address: 10.20.0.9, count: 1}\n  se: {address: 10.20.0.9}\n"
        "  wn: {address: 10.20.0.8}",
        [
            "3:17: 10.20.0.1 is no address for a machine in 10.20.0.0/24, the network 'site'",
            "4:17: several machines cannot have one address",
            "5:17: 10.20.0.9 is the address of 'ce' already",
            "6:17: 10.20.0.8 is no address for a machine in 10.20.1.0/24, the network 'farm'",
        ],
    ),
    "no address": ("machines: {ui: {address: x}}", ["2:26: 'x' is not an address such as '10.20.0.7'"]),
    "people": (
        "vos: [x, x]\nusers: [{name: root, vo: y}, {name: ann, vo: x}, {name: ann, vo: x}]\nmachines: {ui: }",
        [
            "2:10: the VO 'x' is named twice",
            "3:16: 'root' is an account or a group of the system, or of a service",
            "3:26: there is no VO 'y' here",
            "3:57: two users would be called 'ann'",
        ],
    ),
    "a VO of which another one's name begins": (
        "vos: [ops, ops-test]\nmachines: {ui: }",
        ["2:7: members of 'ops' would have the files of 'ops-test' too: the storage element goes by a path's begin"],
    ),
    "a key twice": ("machines:\n  ui:\n  ui: {vcpus: 2}", ["4:3: 'ui' is given twice"]),
    "alias": ("machines:\n  ui: &x {vcpus: 1}\n  ce: *x", ["3:7: YAML's anchors and aliases are not read here"]),
    "merge key": ("machines:\n  ui: {<<: {vcpus: 1}}", ["3:8: YAML's merge keys are not read here"]),
    "tag": (
        "domain: !!python/name:os.system x\nmachines: {ui: }",
        ["2:9: the tag 'tag:yaml.org,2002:python/name:os.system' means nothing here"],
    ),
    "a key that is a list": ("machines: {ui: }\n? [a]\n: b", ["3:3: a key is a word, not a list or a mapping"]),
    "a tab": ("\tmachines: {ui: }", ["2:1: not YAML: found a tab character that violates indentation"]),
    "two documents": ("machines: {ui: }\n---\nsite: b", ["3:1: not YAML: but found another document"]),
}


def problems(tmp_path: Path, text: str | bytes, name: str = "site.yaml") -> InputError:
    """What is raised for a site file of that text."""
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_site(file)
    return caught.value


@pytest.mark.parametrize("case", WRONG)
def test_every_problem_is_told_at_its_place(tmp_path: Path, case: str) -> None:
    text, wanted = WRONG[case]
    error = problems(tmp_path, f"site: a\n{text}\n")
    told = [f"{one.span}: {one.text}" for one in error.problems]
    file = tmp_path / "site.yaml"
    assert told == [f"{file}:{one}" for one in wanted]
    assert error.exit_code == 2


def test_a_problem_is_shown_with_its_line_a_caret_and_a_hint(tmp_path: Path) -> None:
    message = problems(tmp_path, "site: a\nmachines:\n  ce: {memroy: 1GiB}\n  ui: {x: 1}\n").message
    file = tmp_path / "site.yaml"
    assert message.splitlines() == [
        f"{file}:3:8: unknown key 'memroy'",
        "      ce: {memroy: 1GiB}",
        "           ^",
        "    hint: did you mean 'memory'?",
        f"{file}:4:8: unknown key 'x'",
        "      ui: {x: 1}",
        "           ^",
        "    hint: known are: address, count, memory, role, vcpus, volumes",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("machinse: {ui: }", "did you mean 'machines'?"),
        ("machines: {cee: }", "did you mean 'ce'?"),
        ("machines: {zzz: }", "there are: ce, mon, se, ui, wn"),
        ("machines: {mon: }\npublish: {x: [1]}", "its machines: mon"),
        ("machines:\n  ui:\n  ui:", "first given at line 3"),
        ("machines: {se: {volumes: {x: 1GiB}}}", "it has: data"),
        ("machines: {ui: {volumes: {x: 1GiB}}}", "it has none"),
        ("machines: {ui: }\nusers: [{name: a, vo: x}]", "the VOs of this site: dteam"),
        ("machines: {ui: {address: 10.20.0.0}}", "leave it out, and one is chosen"),
        ("machines: {}", "name at least one"),
        ("machines: [ui]", "write 'key: value', without '- ' before it or [ ] around it"),
        ("machines: ui", "write 'key: value'"),
        ("machines: {ui: }\nvos: dteam", "write [dteam]"),
        ("machines: {ui: }\nusers: {name: a, vo: dteam}", "begin each with '- '"),
        ("machines: {ui: {role: 0.5}}", "put it in quotes"),
        ("machines: {ui: {role: *ui}}", "put text that begins with * in quotes"),
        ("machines: {ui: {role: *}}", "put text that begins with * in quotes"),
        ("networks: {site: 10.0.0.0/24}\nmachines: {ce: }", "add under 'networks': farm: 10.20.9.0/24"),
    ],
)
def test_a_hint_says_what_to_do(tmp_path: Path, text: str, hint: str) -> None:
    assert [one.hint for one in problems(tmp_path, f"site: a\n{text}\n").problems if one.hint] == [hint]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "1:1: 'site' is missing"),
        (b"[a]\n", "1:1: a site file has keys such as 'site:' and 'machines:'"),
        (b"just words\n", "1:1: a site file has keys such as 'site:' and 'machines:'"),
        (b"site: a\nmachines: \xe9\n", "2:1: the file is not UTF-8 text"),
        (b"site: a\nmachines: [ui\n", "3:1: not YAML: did not find expected ',' or ']'"),
        (b"site: \x01\n", "1:1: not YAML: unacceptable character #x0001: control characters are not allowed"),
        (b"site: " + b"9" * 5000 + b"\nmachines: {ui: }\n", "1:7: cannot be read: Exceeds the limit"),
        (b"#" * (4 << 20) + b"\n", "1:1: the file has 4194305 bytes; 4194304 are the most"),
    ],
)
def test_what_is_no_site_file_at_all(tmp_path: Path, data: bytes, said: str) -> None:
    first = problems(tmp_path, data).problems[0]
    assert f"{first.span.line}:{first.span.column}: {first.text}".startswith(said)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"site: a\nmachines: {'[' * 200_000}", "2:110"),
        (f"site: a\nmachines: {'{a: ' * 200_000}", "2:407"),
        (f"site: a\nmachines:\n{'- ' * 200_000}", "3:199"),
    ],
    ids=["lists", "mappings", "blocks"],
)
def test_a_file_nested_without_end_is_an_error_as_any(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(text)
    code = "import sys; from gridvisor.cli.main import main; sys.argv = ['gridvisor', 'check', sys.argv[1]]; main()"
    # In a process of its own, which may end by a signal.
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    ours = f"{file}:{place}: nested too deeply; 100 levels are the most"
    # libyaml 0.2.6 (PyYAML 6.0.4) counts for itself, to 1000 flow levels; its scanner is that far ahead of its parser.
    libyaml = f"{file}:2:1010: not YAML: exceeded maximum nesting"
    assert ours in done.stderr or libyaml in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "root",
        "daemon",
        "nobody",
        "www-data",
        "sudo",
        "users",
        "munge",
        "slurm",
        "xrootd",
        "ldap",
        "openldap",
        "prometheus",
        "sshd",
        "messagebus",
        "statd",
        "systemd-network",
        "systemd-timesync",
    ],
)
def test_an_account_of_the_images_is_no_users(tmp_path: Path, name: str) -> None:
    text = f"site: a\nmachines: {{ui: }}\nusers:\n  - {{vo: dteam, name: {name}}}\n"
    [problem] = problems(tmp_path, text).problems
    assert (problem.span.line, problem.span.column, problem.hint) == (4, 23, "take another name")
    assert problem.text == f"'{name}' is an account or a group of the system, or of a service"


def test_apts_account_is_no_users(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "site: a\nmachines: {ui: }\nusers: [{vo: dteam, name: _apt}]\n").problems
    assert (problem.span.line, problem.span.column) == (3, 27)
    assert "'_apt'" in problem.text


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"cannot be read: (No such file|Is a directory)"):
        load_site(tmp_path / name)


def test_five_lines_are_a_whole_site(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(SMALLEST)
    site, machines = load_site(file)
    assert (site.site, site.domain, site.monitor, site.release) == ("small", "grid.test", "auto", "trixie")
    assert site.networks == {"site": IPv4Network("10.20.0.0/24"), "farm": IPv4Network("10.20.1.0/24")}
    assert (site.vos, site.users, site.publish) == (["dteam"], [User(name="tester", vo="dteam")], {})
    assert [machine.name for machine in machines] == ["ui", "ce", "wn1", "wn2"]
    assert [machine.memory_mib for machine in machines] == [machine.role.memory_mib for machine in machines]
    assert {machine.vcpus for machine in machines} == {1}


def test_what_the_file_says_counts(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "site: full\ndomain: example.org\nmonitor: xen+ssh://root@dom0\nvos: [ops]\n"
        "machines:\n  front: {role: ui, memory: 1.5GiB, vcpus: 2, address: 10.20.0.7}\n"
        "  se: {volumes: {data: 4GiB}}\npublish: {front: ['8443:443', 80]}\n"
    )
    site, [front, se] = load_site(file)
    assert site.users == [User(name="tester", vo="ops")], "the default user is in the first VO that there is"
    assert (front.fqdn, front.role.name, front.memory_mib, front.vcpus) == ("front.example.org", "ui", 1536, 2)
    assert front.interfaces[0].address == IPv4Address("10.20.0.7")
    assert front.publish == {8443: 443, 80: 80}
    assert se.volumes["data"].size_mib == 4096


@pytest.mark.parametrize("ports", ["22:22", "'22:22'", "[22:22]", "['22:22']", '["22:22"]', "\n    - 22:22"])
def test_two_ports_need_no_quotes(tmp_path: Path, ports: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(f"site: a\nmachines: {{ui: }}\npublish:\n  ui: {ports}\n")
    assert load_site(file)[0].publish == {"ui": {22: 22}}


@pytest.mark.parametrize(
    "file",
    [*sorted(EXAMPLES.glob("*.yaml")), EXAMPLES / "squid" / "site.yaml"],
    ids=lambda path: str(path.relative_to(EXAMPLES)),
)
def test_examples_load(file: Path) -> None:
    site, machines = load_site(file)
    assert len(machines) >= len(site.machines)


def test_a_document_says_where_its_values_and_keys_stand() -> None:
    class Anything(BaseModel):
        a: dict[str, list[int]]

    document = parse_document(b"a:\n  b: [1, 22]\n", Anything, "x.yaml")
    assert str(document.problem("no", "a", "b", 1).span) == "x.yaml:2:10"
    assert str(document.problem("no", "a", "b", at_key=True).span) == "x.yaml:2:3"
    assert str(document.problem("no", "a", "c").span) == "x.yaml:2:3", "else at what is around it"
    assert str(document.problem("no").span) == "x.yaml:1:1"


def test_the_schema_for_editors_has_the_keys_of_the_file() -> None:
    schema = site_schema()
    assert set(schema["properties"]) == set(Site.model_fields)
    machine = schema["$defs"]["MachineSpec"]["properties"]
    assert "memory" in machine
    assert "memory_mib" not in machine


# Below `site: a`; all that follows from one value for itself, which is as much as a schema can tell.
GOOD = r"""
machines: {ui: }
machines: {ui: null, ce: {}, wn: {count: 2}, se: {role: null, volumes: {data: 4g}, address: null, memory: null}}
machines: {ui: {memory: 512m}}
machines: {ui: {memory: 1.5GiB}}
machines: {ui: {memory: 262144 KiB}}
machines: {ui: {memory: 256mb, vcpus: 64}}
machines: {ui: {memory: ' 268435456 '}}
machines: {mon: }\npublish: {mon: 9090}
machines: {mon: }\npublish: {mon: [9090, '9091', '8080:80']}
machines: {mon: }\npublish: {mon: '8080:80'}
machines: {mon: }\npublish: {mon: []}
machines: {ui: {address: 10.20.0.7}}\nnetworks: {site: 10.20.0.0/255.255.255.0, farm: 10.9.0.0/16}
machines: {ui: }\nmonitor: xen+ssh://root@dom0\nvos: [vo.example.org]\nusers: [{name: a_b-c, vo: vo.example.org}]
""".strip().splitlines()
BAD = r"""
machines:
machines: {}
machines: {UI: {role: ui}}
machines: {ui: {memory: 512}}
machines: {ui: {memory: lots}}
machines: {ui: {memory: 5PiB}}
machines: {ui: {memory: .5GiB}}
machines: {ui: {volumes: {data: 1}}}
machines: {ui: {vcpus: '2'}}
machines: {ui: {count: -1}}
machines: {ui: {address: 7}}
machines: {ui: {address: x}}
machines: {ui: {disk: 1GiB}}
machines: {ui: }\nnetworks: {site: 10}
machines: {ui: }\nnetworks: {site: 10.20.0.0}
machines: {ui: }\nnetworks: {9th: 10.20.0.0/24}
machines: {mon: }\npublish: {mon: }
machines: {mon: }\npublish: {mon: 0}
machines: {mon: }\npublish: {mon: [65536]}
machines: {mon: }\npublish: {mon: true}
machines: {mon: }\npublish: {mon: '80:'}
machines: {mon: }\npublish: {mon: {80: 80}}
machines: {mon: }\npublish: {MON: 80}
machines: {ui: }\nvos: []
machines: {ui: }\nusers: [{name: ann}]
machines: {ui: }\nmonitor: kvm
machines: {ui: }\ndomain: -a.test
""".strip().splitlines()


@pytest.mark.parametrize(("text", "good"), [*((text, True) for text in GOOD), *((text, False) for text in BAD)])
def test_the_schema_for_editors_takes_what_check_takes(tmp_path: Path, text: str, good: bool) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: a\n" + text.replace("\\n", "\n") + "\n")
    assert Draft202012Validator(site_schema()).is_valid(yaml.safe_load(file.read_text())) == good
    if good:
        load_site(file)
    else:
        problems(tmp_path, file.read_text())


@pytest.mark.parametrize(("text", "status"), [(SMALLEST, 0), ("site: small\nmachines: {nobody: }\n", 2)])
def test_check_touches_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    status: int,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    file = tmp_path / "site.yaml"
    file.write_text(text)
    monkeypatch.setenv("GRIDVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["gridvisor", "check", str(file)])
    monkeypatch.setattr(subprocess, "Popen", never)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as leaving:
        main()
    signal.signal(signal.SIGINT, before)
    told = capsys.readouterr()
    assert leaving.value.code == status
    assert sorted(tmp_path.iterdir()) == [file]
    if status:
        assert (f"{file}:2:12: 'nobody' is no role's name" in told.err, told.out) == (True, "")
    else:
        assert told.out == f"{file}: site 'small' of 4 machines is fine.\n"
