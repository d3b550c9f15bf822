"""Recorded files in xm's and xl's manner, against golden files; GRIDVISOR_REGENERATE=1 writes them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gridvisor.core.errors import InputError
from gridvisor.domain.config import load_config, read_config
from gridvisor.domain.model import Disk, DomainType, OnEnd, Vif
from gridvisor.domain.writer import write_config

TESTS = Path(__file__).parent.parent
RECORDED = sorted(path.name for path in (TESTS / "data" / "xen").glob("x*.cfg"))
NAMED = 'name = "a"\n'
MAC = "mac=00:16:3e:00:00:01"


def problems(text: str, **variables: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_config(text, "f", variables)
    return [f"{problem.span.line}:{problem.span.column}: {problem.text}" for problem in caught.value.problems]


def compare(golden: Path, text: str) -> None:
    if os.environ.get("GRIDVISOR_REGENERATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", RECORDED)
def test_golden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TESTS / "data" / "xen")
    read = load_config(Path(name), {"vmid": "3"} if "vmid" in Path(name).read_text() else {})
    warnings = "".join(f"# {line}\n" for problem in read.warnings for line in problem.render().splitlines())
    compare(TESTS / "golden" / "domain" / name, write_config(read.domain) + warnings)
    assert read_config(write_config(read.domain), name).domain == read.domain


def test_every_mistake_is_shown_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TESTS / "data" / "xen")
    with pytest.raises(InputError) as caught:
        load_config(Path("bad.cfg"))
    compare(TESTS / "golden" / "domain" / "bad.txt", caught.value.message + "\n")


def test_the_paper_s_example() -> None:
    domain = load_config(TESTS.parent / "examples" / "vm1.cfg").domain
    assert (domain.name, domain.memory_mib, domain.root) == ("vm1", 256, "/dev/xvda1 ro")
    assert domain.disks == (Disk("/dev/vg0/vm1-disk", "xvda1"), Disk("/dev/vg0/vm1-swap", "xvda2"))
    assert domain.vifs == (Vif(mac="00:16:3e:00:00:01"),)
    assert domain.on_crash is OnEnd.RESTART


def test_vmid_on_the_command_line() -> None:
    example = TESTS.parent / "examples" / "vmid.cfg"
    assert load_config(example, {"vmid": "7"}).domain.name == "vm7"
    for refused in ("0", "-3", "abc", "1.5", ""):
        with pytest.raises(InputError, match="is refused by 'vmid_check'"):
            load_config(example, {"vmid": refused})
    with pytest.raises(InputError, match=r"the variable 'vmid' has no value[^$]*Number of the machine"):
        load_config(example)


def test_the_command_line_goes_before_the_file() -> None:
    text = 'name = "a"\nhostname = name\nmemory = 64\n'
    read = read_config(text, "f", {"name": "b", "memory": "0x200", "disk": "['/dev/x,,xvda']", "extra": '"1"'})
    assert (read.domain.name, read.domain.hostname, read.domain.memory_mib) == ("b", "b", 512)
    assert (read.domain.disks, read.domain.extra) == ((Disk("/dev/x", "xvda"),), "1")
    assert read.warnings == ()


def test_a_mistake_on_the_command_line_is_shown_there() -> None:
    with pytest.raises(InputError) as caught:
        read_config(NAMED, "f", {"memory": "lots", "a b": "1", "vif": "['mac=1']", "extra": "a\x1bb", "root": "'x"})
    assert [str(problem.span) for problem in caught.value.problems] == [
        "command line:1:1",
        "command line:1:6",
        "command line:1:8",
        "command line:1:8",
        "command line:1:11",
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a' \"b\" 'c'", "abc"),
        (r"'\x41\102\'\\'", "AB'\\"),
        ("'%s-%03d-%x' % ('a', 7, 255)", "a-007-ff"),
        ("'%d%%' % 5", "5%"),
        ("'%s' % vmid", "3"),
        ("'%.2f' % (1 / 4.0)", "0.25"),
        ("str(7 / 2) + str(-7 // 2)", "3-4"),
        ("str(2 + 3 * 4 - 10 % 4)", "12"),
        ("str(010 + 0x10)", "24"),
        ("'ab' * 2", "abab"),
        ("str(int('5') + vmid)", "8"),
        ("not 1 or 'x'", "x"),
        ("0 or '' or 'last'", "last"),
        ("\\\n 'continued'", "continued"),
        ("( # a comment\n 'in brackets'\n)", "in brackets"),
    ],
)
def test_expressions(expression: str, value: str) -> None:
    assert read_config(f"{NAMED}extra = {expression}\n", "f", {"vmid": "3"}).domain.extra == value


@pytest.mark.parametrize(
    ("condition", "branch"),
    [("1 == 1", "yes"), ("1 != 1", "no"), ("'a' < 'b' and not 0", "yes"), ("2 >= 3 or ''", "no"), ("1 == '1'", "no")],
)
def test_if(condition: str, branch: str) -> None:
    text = f"{NAMED}if {condition}:\n  extra = 'yes'\n  x = 1\nelif 0: pass\nelse: extra = 'no'\nroot = extra"
    assert read_config(text, "f").domain.root == branch


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("1 / 0", "2:11: division by zero"),
        ("'%d' % 'a'", "2:14: the format '%d' does not fit 'a'"),
        ("'%d %d' % 1", "2:17: the text has 2 format(s) and is given 1 value(s)"),
        ("'%(x)s' % 1", "2:17: the format '%(' is not supported"),
        ("'a' + 1", "2:13: '+' of 'a' and 1 is not supported"),
        ("1 < 2 < 3", "2:11: comparing more than two values at once is not supported"),
        ("'\\d'", "2:10: the escape '\\d' is not supported"),
        ("'\\0'", "2:10: the escape '\\0' is not supported"),
        ("'a\\x1b'", "2:11: the escape '\\x1b' is not supported"),
        ("'open", "2:9: this string has no closing quote on its line"),
        ("[1,\n", "2:9: this '[' is never closed"),
        ("1)", "2:10: ')' closes nothing"),
        ("089", "2:9: '089' is not a number that is supported"),
        ("'a' if 1 else 'b'", "2:13: 'if' in an expression is not supported"),
        ("", "2:9: a value is missing"),
        ("1 2", "2:11: '2' is not expected here"),
        ("names", "2:9: 'names' has no value"),
        ("int('x')", "2:9: int() of 'x' has no value"),
        ("['a']", "2:9: extra: a string is expected here"),
        ("'a\\nb'", "2:9: extra: control character U+000A is not supported"),
    ],
)
def test_a_mistake_has_a_place_and_a_reason(expression: str, problem: str) -> None:
    assert problems(f"{NAMED}extra = {expression}") == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("memory = 64\n", "1:1: the domain has no 'name'"),
        ("name = ''", "1:1: the domain has no 'name'"),
        ("name = 'a..b'", "1:9: name: 'a..b' cannot be the name of a domain"),
        ("name = 'a/b'", "1:9: name: 'a/b' cannot be the name of a domain"),
        ("name = 'a\\n'", "1:8: name: control character U+000A is not supported"),
        (NAMED + "maxmem = 64", "2:10: maxmem: 64 MiB is less than memory's 128 MiB"),
        (NAMED + "disk = ['/a,,xvda', '/b,,xvda']", "2:22: disk: two disks are called 'xvda'"),
        (NAMED + "vif = ['mac=0:1'] * 2", "2:7: vif: '0:1' is not a MAC address (character 5 of 'mac=0:1')"),
        (NAMED + f"vif = ['{MAC}', '{MAC}']", "2:34: vif: two interfaces have the address '00:16:3e:00:00:01'"),
        (NAMED + "type = 'pv'\nbuilder = 'hvm'", "3:12: 'builder' contradicts what an earlier key says"),
        (NAMED + "  memory = 1", "2:3: this line is indented without reason"),
        (NAMED + "if 1:\n    x = 1\n  y = 2\n", "4:3: this indentation fits no line above"),
        (NAMED + "if 1:\nx = 1\n", "3:1: an indented block is missing"),
        (NAMED + "memory += 1\n", "2:1: 'memory' has no value"),
        (NAMED + "a.b = 1\n", "2:1: using 'a' with '.' is not supported"),
        (NAMED + "def f(x):\n  def g(y): pass\n", "3:3: a 'def' within a block is not supported"),
        (NAMED + "xm_vars.var(vmid)\n", "2:13: the name of a variable is missing, in quotes"),
        (NAMED + "\x07\n", "2:1: control character U+0007 is not supported"),
        (NAMED + "memory = true\n", "2:10: 'true' has no value"),
    ],
)
def test_a_file_with_one_mistake(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_a_problem_does_not_make_others() -> None:
    assert problems(f"{NAMED}a = missing\nroot = a\nextra = missing\nif a:\n  kernel = 1\nramdisk = kernel") == [
        "2:5: 'missing' has no value"
    ]


def test_unknown_keys_are_kept_and_warned_about() -> None:
    text = (
        NAMED + "memroy = 5\nhelper = 'x'\nroot = helper\nvfb = ['a', [-1, 0.5]]\nNIC = 1\nflag = True\nnone = None\n"
    )
    read = read_config(text, "f")
    assert read.domain.other == {"memroy": 5, "vfb": ["a", ["-1", "0.5"]], "flag": 1}
    assert [warning.text.split("'")[1] for warning in read.warnings] == ["memroy", "vfb", "NIC", "flag", "none"]
    assert read.warnings[0].hint == "did you mean 'memory'?"


def test_a_value_given_twice_is_warned_about_unless_it_was_used_or_chosen() -> None:
    read = read_config(NAMED + "memory = 1\nmemory = 2\nvcpus = 1\nif 1: vcpus = 2\n", "f")
    assert [(warning.span.line, warning.text) for warning in read.warnings] == [
        (3, "'memory' is given again: the value of line 2 has no effect")
    ]
    assert (read.domain.memory_mib, read.domain.vcpus) == (2, 2)


def test_old_words() -> None:
    assert read_config(NAMED + "builder = 'hvm'", "f").domain.type is DomainType.HVM
    assert read_config(NAMED + "builder = 'linux'; type = 'pv'", "f").domain.type is DomainType.PV
    assert read_config(NAMED + "dhcp = 'dhcp'", "f").domain.dhcp
    assert not read_config(NAMED + "dhcp = 0", "f").domain.dhcp


def test_line_ends_and_byte_order_mark() -> None:
    assert read_config("\ufeffname = 'a'\r\nmemory = 5\r\n", "f").domain.memory_mib == 5


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"# ok\nname = 'caf\xe9'\n")
    (tmp_path / "large").write_bytes(b"#" * (256 * 1024 + 1))
    (tmp_path / "zero").write_bytes(b"name = 'a'\0\n")
    os.mkfifo(tmp_path / "fifo")
    for name, text in {
        "latin": "2:12: byte 0xe9 is not UTF-8 text",
        "large": "larger than 256 KiB",
        "zero": "1:11: control character U+0000",
        "fifo": "not a regular file",
        "missing": "no such file",
        ".": "a directory",
        "a\0b": "cannot be read",
        "latin/x": "cannot be read: Not a directory",
        "x" * 5000: "cannot be read: File name too long",
    }.items():
        with pytest.raises(InputError, match=re.escape(text)):
            load_config(tmp_path / name)
