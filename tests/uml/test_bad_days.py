"""What a user is told when things go wrong, and that nothing is left of it: processes, taps, namespaces, files."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import TINY_MIB, eventually
from gridvisor.core.errors import ExitCode
from home import EXAMPLES, Home

pytestmark = pytest.mark.uml

KILLS = 6  # of each kind
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

HOSTILE = {
    "import": ("name = __import__('os').system('id')\n", "1:8"),
    "exponent": ("name = 'h'\nmemory = 9 ** 9 ** 9\n", "2:"),
    "nesting": ("disk = " + "[" * 5000 + "]" * 5000 + "\n", "1:"),
    "path": ("name = '../../up'\nmemory = 64\n", "1:"),
    "control": ("name = 'a\\x1b[2J'\nmemory = 64\n", "1:"),
    "loop": ("name = 'h'\nwhile True:\n    pass\n", "2:1"),
    "huge": ("name = 'h'\nextra = 'a' * 10 ** 12\n", "2:"),
    "nul": ("name = 'h'\0\n", "1:"),
}


@pytest.fixture
def tiny(tiny_image: Path, home: Home) -> Path:
    """The configuration of a tiny guest that keeps its disk where the test can look."""
    image = home.folder / "tiny.img"
    subprocess.run(["cp", "--sparse=always", tiny_image, image], check=True)
    return configuration(home.folder / "tiny.cfg", image)


def configuration(path: Path, image: Path, *, name: str = "tiny", more: str = "") -> Path:
    """A file for a domain of that root image, with one network interface."""
    path.write_text(f'name = "{name}"\nmemory = {TINY_MIB}\ndisk = ["file:{image},xvda,w"]\nvif = [""]\n{more}')
    return path


def assert_nothing_runs(home: Home) -> None:
    """No domain, process or tap is there, and no namespace but the network's own."""
    eventually(lambda: home.processes() == home.folders("domains") == [])
    assert home.rows() == []
    assert home.taps() == []
    assert home.namespaces() in ([], [home.network.namespace])


def assert_nothing_was_made(home: Home) -> None:
    """As if the command had never been given."""
    assert_nothing_runs(home)
    assert home.namespaces() == []
    assert home.folders("machines") == home.folders("volumes") == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_configuration_is_refused_where_it_stands(home: Home, kind: str) -> None:
    text, place = HOSTILE[kind]
    file = home.folder / "hostile.cfg"
    file.write_text(text)
    said = home.refused("domain", "create", file)
    assert f"{file}:{place}" in said
    assert "\x1b[2J" not in said
    assert_nothing_was_made(home)


def test_a_name_that_is_taken_is_told_and_the_domain_stays(home: Home, tiny: Path) -> None:
    home.ok("domain", "create", tiny)
    before = home.rows()[0]["id"]
    assert "A domain 'tiny' exists already; it is running" in home.refused("domain", "create", tiny)
    assert [row["id"] for row in home.rows()] == [before]
    second = configuration(home.folder / "second.cfg", home.folder / "tiny.img", name="second")
    assert "is a disk of the domain 'tiny'" in home.refused("domain", "create", second)
    assert home.folders("domains") == ["tiny"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("vif=['bridge=br9']", "There is no bridge 'br9'"),
        ("memory=9999999", "a domain of "),
        ("disk=['phy:vg0/tiny-disk,xvda,w','phy:vg0/absent,xvdb,w']", "There is no volume 'vg0/absent'"),
        ("disk=['file:TEXT,xvda,w']", "it looks like a text file"),
        ("disk=['file:/absent,xvda,w']", "'/absent'"),
        ("disk=[]", "has no disk"),
        ("disk=['phy:vg0/../../etc,xvda,w']", "etc"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(home: Home, tiny: Path, setting: str, told: str) -> None:
    text = home.folder / "text"
    text.write_text("no file system\n")
    assert told in home.refused("domain", "create", tiny, setting.replace("TEXT", str(text)))
    assert_nothing_was_made(home)
    home.ok("domain", "create", tiny)


def test_too_much_memory_is_told_with_the_sum(home: Home, tiny: Path) -> None:
    said = home.refused("domain", "create", tiny, "memory=9999999")
    assert "9999999 + " in said
    fits = said.rpartition("memory=")[2].strip()
    assert 64 <= int(fits) < 9999999


def test_a_disk_too_small_for_new_volumes_is_told_unless_overcommit_is_asked(home: Home) -> None:
    home.places.state.mkdir()
    on_small_disk = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=64m none {home.places.state} && "$@"', "sh")
    said = home.refused("domain", "create", EXAMPLES / "vm1.cfg", under=on_small_disk)
    assert "Not enough disk" in said
    assert re.search(r"has 6[34](\.\d)? MiB free", said), said
    assert "--overcommit" in said
    assert_nothing_was_made(home)


def test_a_disk_that_fills_up_while_an_image_is_built_is_told(home: Home) -> None:
    """The cache is a disk of its own here, which shrinks to what it holds once packages are being installed."""
    script = f"""
        real=$(readlink -f {home.folder}/cache)
        cd {home.folder} && rm cache && mkdir cache && mount -t tmpfs -o size=4g none cache || exit
        for kept in apt debs; do mkdir -p $real/$kept cache/$kept && mount --bind $real/$kept cache/$kept; done
        "$@" & build=$!
        used() {{ df --output=used cache | tail -n 1; }}
        while kill -0 $build 2>/dev/null && [ "$(used)" -lt 40000 ]; do sleep 0.1; done
        # Refused when it holds more by then.
        until mount -o remount,size=$(($(used) + 8000))k none cache; do sleep 0.1; done
        status=0; wait $build || status=$?
        find cache/images -type f -size +0
        exit $status
    """
    done = home.run("image", "build", under=("unshare", "-m", "sh", "-c", script, "sh"))
    assert done.returncode == 2
    assert "became full while building" in done.stderr, done.stderr
    assert done.stdout == ""
    assert_nothing_runs(home)


@pytest.mark.parametrize("hide", ["mount -t tmpfs none /dev/net", "mount --bind /dev/null /dev/net/tun"])
def test_a_machine_without_tun_is_told_what_mends_it(home: Home, tiny: Path, hide: str) -> None:
    said = home.refused("domain", "create", tiny, under=("unshare", "-m", "sh", "-c", f'{hide} && "$@"', "sh"))
    assert "/dev/net/tun" in said
    assert "modprobe tun" in said
    assert_nothing_was_made(home)
    home.ok("domain", "create", tiny)


def test_a_port_that_is_taken_is_told(home: Home, tiny: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port} of 127.0.0.1 is taken" in home.refused("domain", "create", "--publish", f"{port}:22", tiny)
    assert_nothing_was_made(home)
    home.ok("domain", "create", "--publish", f"{port}:22", tiny)


def test_a_kernel_that_panics_is_told_with_what_it_said_last(home: Home, tiny_image: Path) -> None:
    image = home.folder / "empty.img"
    tree = home.folder / "tree"
    (tree / "etc/sysconfig/network-scripts").mkdir(parents=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image, "8M"], check=True, capture_output=True)
    file = configuration(home.folder / "empty.cfg", image)
    said = home.refused("domain", "create", "--wait", file, status=1)
    assert "'tiny' crashed" in said or "'tiny' did not start" in said
    assert "has no /sbin/init" in said
    assert "Kernel panic" in said
    assert [row["state"] for row in home.rows()] in ([], ["crashed"])
    assert home.taps() == []
    # The crashed one gives way to a new one of its name.
    subprocess.run(["cp", tiny_image, image], check=True)
    home.ok("domain", "create", file)
    assert [row["state"] for row in home.rows()] == ["running"]


@pytest.fixture(scope="module")
def create_s() -> dict[int, float]:
    """How long a whole create takes, of each kind that was measured."""
    return {}


def measured(home: Home, words: Sequence[str | Path]) -> float:
    """Seconds that a create takes in a home where nothing is; nothing is there afterwards."""
    began_s = time.monotonic()
    home.ok("domain", "create", *words)
    whole_s = time.monotonic() - began_s
    home.ok("domain", "destroy", "--volumes", "tiny")
    home.network.remove()
    assert_nothing_is_left(home)
    return whole_s


@pytest.mark.parametrize("number", range(KILLS))
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=lambda end: end.name)
def test_a_create_that_is_ended_at_any_moment_leaves_nothing(
    home: Home, tiny: Path, create_s: dict[int, float], end: signal.Signals, number: int
) -> None:
    # By turns a guest with a file of its own, and one whose volumes are made.
    words: list[str | Path] = [tiny] if number % 2 else [EXAMPLES / "vm1.cfg", "name=tiny", f"memory={TINY_MIB}"]
    whole_s = create_s.get(number % 2) or measured(home, words)
    create_s[number % 2] = whole_s
    moment_s = random.Random(f"{end.name}/{number}").uniform(0.3, 1.05) * whole_s  # Python itself takes the first third
    with home.start("domain", "create", *words) as create:
        time.sleep(moment_s)
        create.send_signal(end)
        _, stderr = create.communicate(timeout=60)
    assert create.returncode in (0, -end, ExitCode.INTERRUPTED), stderr
    assert "Traceback" not in stderr or "in <module>" in stderr.splitlines()[2], stderr
    # Whoever was created before the signal came runs, whole; of any other there is nothing.
    eventually(lambda: settled(home))
    if not home.rows():
        eventually(lambda: home.processes() == home.taps() == [])
        home.ok("domain", "create", *words)
    (row,) = home.rows()
    assert (row["name"], row["state"]) == ("tiny", "running")
    home.ok("domain", "destroy", "--volumes", "tiny")
    assert_nothing_is_left(home)


def assert_nothing_is_left(home: Home) -> None:
    """Of a domain that was destroyed with its volumes there is not one file but its log."""
    assert_nothing_runs(home)
    state = home.places.state
    left = [path for kind in ("machines", "volumes") for path in (state / kind).rglob("*") if path.is_file()]
    assert left == []


def settled(home: Home) -> bool:
    """True when no creator and no undecided keeper is at work: each domain was committed, or its folder is dead."""
    states = [home.places.state / "domains" / name / "state.json" for name in home.folders("domains")]
    committed = [state.exists() and json.loads(state.read_text()).get("committed") for state in states]
    return all(committed) or not home.processes()


def test_six_creates_at_once_get_numbers_and_addresses_of_their_own(home: Home, tiny_image: Path) -> None:
    files = []
    for number in range(6):
        image = home.folder / f"{number}.img"
        subprocess.run(["cp", "--sparse=always", tiny_image, image], check=True)
        files.append(configuration(home.folder / f"{number}.cfg", image, name=f"tiny{number}"))
    creates = [home.start("domain", "create", file) for file in files]
    for create in creates:
        _, stderr = create.communicate(timeout=120)
        assert create.returncode == 0, stderr
    rows = home.rows()
    assert len({row["id"] for row in rows}) == len(rows) == 6
    facts = [json.loads(home.ok("domain", "info", row["name"], "-o", "json")) for row in rows]
    assert len({fact["address"] for fact in facts}) == 6
    assert len({fact["macs"] for fact in facts}) == 6
    assert len(set(home.taps())) == 6


def test_one_name_six_times_at_once_is_one_domain(home: Home, tiny: Path) -> None:
    creates = [home.start("domain", "create", tiny) for _ in range(6)]
    statuses = []
    for create in creates:
        _, stderr = create.communicate(timeout=120)
        assert "Traceback" not in stderr
        statuses.append(create.returncode)
    assert sorted(statuses) == [0, 2, 2, 2, 2, 2]
    assert [row["name"] for row in home.rows()] == ["tiny"]
    assert len(home.taps()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("domain", "create", str(EXAMPLES / "vm1.cfg")),
        ("domain", "destroy", "tiny"),
        ("domain", "pause", "tiny"),
        ("domain", "ssh", "tiny", "--", "true"),
        ("domain", "rename", "tiny", "other"),
        ("image", "build"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_user_who_is_not_root_is_told_how_to_go_on(home: Home, tiny: Path, words: tuple[str, ...]) -> None:
    if subprocess.run([*NOBODY, sys.executable, "-c", "import gridvisor"], capture_output=True, check=False).returncode:
        pytest.skip("this Python is not for other users to run")
    home.ok("domain", "create", tiny)
    done = home.run(*words, under=NOBODY)
    assert done.returncode in (2, 3), done.stdout
    assert "sudo" in done.stderr
    assert [row["state"] for row in home.rows()] == ["running"]
