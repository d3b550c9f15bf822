"""Files that mean harm: each is an error, and none is executed, hangs or takes memory."""

from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridvisor.core.errors import InputError
from gridvisor.domain.config import read_config

MOST_MIB = 128
NAMED = 'name = "a"\n'
HOSTILE = {
    "import": "__import__('os').system('touch executed')",
    "eval": "eval('1')",
    "open": "open('executed', 'w')",
    "attribute": "''.__class__",
    "subclasses": "().__class__.__bases__[0].__subclasses__()",
    "method": "'{0.__class__}'.format(1)",
    "index": "'a'[0]",
    "slice": "'a'[0:]",
    "comprehension": "[x for x in [1]]",
    "generator": "(x for x in [1])",
    "lambda": "lambda: 1",
    "walrus": "(x := 1)",
    "f-string": "f'{1}'",
    "raw string": "r'a'",
    "dictionary": "{1: 2}",
    "starred": "[*[1]]",
    "backquotes": "`1`",
    "power": "9**9**9**9",
    "shift": "1 << 1000000000",
    "huge repetition": "'a' * 10000000000",
    "huge list": "10000000000 * ['a']",
    "huge power of repetition": "'a'*10**10",
    "huge integer": "9" * 200_000,
    "huge hexadecimal": "0x" + "f" * 200_000,
    "huge product": "9" + "*9" * 30_000,
    "huge exponent": "1e999999999",
    "infinity": "1e300 * 1e300",
    "wide": "'%1000000000d' % 1",
    "precise": "'%.1000000000f' % 1",
    "wide by a value": "'%*d' % (1000000000, 1)",
    "many formats": "'" + "%256d" * 10_000 + "' % (" + "1," * 10_000 + ")",
    "open brackets": "[" * 100_000,
    "nested lists": "[" * 100_000 + "]" * 100_000,
    "nested parentheses": "(" * 100_000 + "1" + ")" * 100_000,
    "nested not": "not " * 60_000 + "1",
    "nested minus": "-" * 50_000 + "1",
    "long string": "'" + "a" * 200_000 + "'",
    "escapes": "'" + "\\'" * 100_000,
    "commas": "['" + "," * 200_000 + "']",
}
PROGRAMS = {
    "import": "import os\n",
    "from": "from os import system\n",
    "raise": "raise SystemExit\n",
    "exec": "exec('x')\n",
    "print": "print 'x'\n",
    "class": "class A:\n  x = 1\n",
    "loop": "while 1:\n  x = 1\n",
    "for": "for x in [1]: y = x\n",
    "try": "try:\n  x = 1\nexcept: pass\n",
    "global check": "def f(a, b):\n  return f(a, b)\nxm_vars.var('vmid', check=f)\n",
    "check is a built-in": "xm_vars.var('vmid', check=exec)\n",
    "dunder of xm_vars": "xm_vars.__class__()\n",
    "nested if": "".join(" " * i + "if 1:\n" for i in range(600)),
    "doubled lists": "a = ['x']\n" + "a = [a, a]\n" * 1000,
    "doubled sums": "a = ['x']\n" + "a = a + a\n" * 1000,
    "doubled strings": "a = 'xx'\n" + "a = a + a\n" * 1000,
    "shared strings": "a = 'x' * 65536\n" + "b = [a, a, a, a]\n" * 1_000,
    "undefined names": "".join(f"a{i} = b{i}\n" for i in range(3_000)),
    "control characters": "\x01\n" * 10_000,
    "quotes": "'\n" * 10_000,
    "triple quotes": "'''\\" * 10_000,
    "semicolons and a bad end": ";" * 50_000 + "!",
    "too long": "#" * 300_000,
    "escape sequence": "# \x1b]0;title\x07\n",
}


def refused(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InputError:
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_config(text, "hostile.cfg", {"vmid": "1"})
        peak_mib = tracemalloc.get_traced_memory()[1] >> 20
    finally:
        tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []
    assert peak_mib < MOST_MIB
    assert len(caught.value.message) < 20_000
    assert not any(c in caught.value.message for c in "\x01\x07\x1b")
    return caught.value


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_expressions(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = refused(f"{NAMED}root = {HOSTILE[case]}\n", monkeypatch, tmp_path)
    assert {problem.span.line for problem in error.problems} <= {2, 3}


@pytest.mark.parametrize("case", PROGRAMS)
def test_hostile_programs(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refused(NAMED + PROGRAMS[case], monkeypatch, tmp_path)


@pytest.mark.parametrize("name", ["../a", "..", ".", "a/b", "/a", "a\\tb", "-a", "a b", "a" * 64, "é", "a..b"])
def test_names_that_are_paths_or_worse(name: str) -> None:
    with pytest.raises(InputError, match="name: "):
        read_config(f"name = '{name}'\n", "f")


def test_the_largest_honest_file_is_read() -> None:
    lines = "".join(f"key{i:04} = 'value'\n" for i in range(10_000))
    assert len(read_config(NAMED + lines, "f").domain.other) == 10_000
    assert read_config(NAMED + "memory = 1" + "+1" * 1000, "f").domain.memory_mib == 1001


WORDS = "name = += 'a' \" ' [ ] ( ) , ; if else : def % xm_vars .var .check() raise return 1 0x \\ # int( not - \0 é"
FRAGMENTS = st.sampled_from([*WORDS.split(" "), "\n", " ", "\t", "\\\n"])


@settings(max_examples=400, deadline=None)
@given(st.lists(FRAGMENTS, max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_is_a_domain_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):  # anything else would be our bug
        assert read_config(text, "any", {"name": "given"}).domain.name == "given"
