"""The order of a build and its bad days, with mmdebstrap and mke2fs played by a fake."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.image import build as module
from gridvisor.image.build import build_argv, build_image, says_full
from gridvisor.image.mmdebstrap import OPTIONS, begin, keep_files, write_options
from gridvisor.image.recipe import Recipe
from gridvisor.image.store import Image, ImageStore
from gridvisor.package.apt import Apt, PackageVersion
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command, CommandFailed, Result

MIRROR = Mirror("http://mirror.example.org/debian", Path("/keys/debian.gpg"), ('Acquire::Retries "2"',))
RECIPE = Recipe("small", "trixie", packages=("bash", "sed"), steps=("echo 'a b'\n",))
SUPERBLOCK = bytes(1024 + 0x38) + b"\x53\xef" + bytes(2048)


def version(of: str) -> PackageVersion:
    return PackageVersion("bash", of, "amd64", "0" * 64)


@dataclass
class Tools:
    """A Target whose mmdebstrap installs `installs`, and where each program may fail in its own way."""

    installs: str = "bash 1\n"
    name: str = "fake"
    ran: list[str] = field(default_factory=list)
    fail: dict[str, str] = field(default_factory=dict)
    during: Callable[[], object] = lambda: None

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        words = list(command.argv)
        program = next(word for word in words if word in ("mmdebstrap", "mke2fs", "debugfs"))
        self.ran.append(program)
        if program in self.fail:
            raise CommandFailed(Result(command, 1, "", self.fail[program], 0.0, self.name))
        match program:
            case "mmdebstrap":
                self.during()
                if "--format=tar" in words:
                    next(Path(word) for word in words if word.endswith(".tar")).write_bytes(b"tree")
                    return Result(command, 0, "", "", 0.0, self.name)
                folder = next(Path(word).parent for word in words if word.endswith("/tree"))
                (folder / "tree/var/lib").mkdir(parents=True)
                (folder / "tree/var/lib/gridvisor-installed").write_text(self.installs)
                (folder / "debs/bash_1_amd64.deb").write_bytes(b"deb")
            case "mke2fs":
                Path(words[-2]).write_bytes(SUPERBLOCK)
        return Result(command, 0, "", "", 0.0, self.name)

    def put(self, source: Path, destination: str, *, timeout_s: float) -> None:
        raise NotImplementedError

    def get(self, source: str, destination: Path, *, timeout_s: float) -> None:
        raise NotImplementedError


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The version of bash that the lists know; a forced update moves on to the next."""
    versions = ["1"]

    def update(apt: Apt, suite: str, *, max_age_h: float = 0, force: bool = False) -> None:
        if force and len(versions) > 1:
            versions.pop(0)

    def resolve(apt: Apt, suite: str, packages: Iterable[str]) -> tuple[PackageVersion, ...]:
        return (version(versions[0]),)

    monkeypatch.setattr(Apt, "update", update)
    monkeypatch.setattr(Apt, "resolve", resolve)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "BUILD_NEEDS_BYTES", 1)
    return versions


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


def build(places: Places, tools: Tools, recipe: Recipe = RECIPE, *, refresh: bool = False) -> Image:
    return build_image(recipe, places=places, mirror=MIRROR, target=tools, bus=Bus(), refresh=refresh)


def left_in(places: Places) -> list[str]:
    return sorted(path.name for path in ImageStore(places).root.glob("*") if not path.name.startswith(".locks"))


@pytest.mark.usefixtures("offered")
def test_a_second_build_runs_nothing(places: Places) -> None:
    first = build(places, Tools())
    again = Tools()
    assert build(places, again) == first
    assert again.ran == []
    assert left_in(places) == [first.id]
    assert [path.name for path in ImageStore(places).debs.iterdir()] == ["bash_1_amd64.deb"]


def test_refresh_asks_the_mirror(places: Places, offered: list[str]) -> None:
    first = build(places, Tools())
    offered.append("2")
    assert build(places, Tools()).id == first.id
    assert build(places, Tools("bash 2\n"), refresh=True).id != first.id


def test_a_mirror_that_moved_is_asked_again(places: Places, offered: list[str]) -> None:
    offered.append("2")
    assert build(places, Tools("bash 2\n")).packages == (version("2"),)


@pytest.mark.usefixtures("offered")
def test_other_packages_than_resolved_are_no_image(places: Places) -> None:
    with pytest.raises(ToolOutput, match="bash 1, bash 7"):
        build(places, Tools("bash 7\n"))
    assert left_in(places) == []


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("program", ["mmdebstrap", "mke2fs", "debugfs"])
def test_a_failure_at_any_step_leaves_nothing_and_the_next_build_works(places: Places, program: str) -> None:
    with pytest.raises(CommandFailed, match="it broke"):
        build(places, Tools(fail={program: "it broke"}))
    assert left_in(places) == []
    assert build(places, Tools()).path.exists()


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("program", ["mmdebstrap", "mke2fs"])
def test_a_disk_that_becomes_full_is_said_so(places: Places, program: str) -> None:
    with pytest.raises(Refused, match="became full"):
        build(places, Tools(fail={program: "tar: x: Cannot write: No space left on device"}))
    assert left_in(places) == []


@pytest.mark.usefixtures("offered")
def test_an_image_that_is_too_small_is_not_a_full_disk(places: Places) -> None:
    said = '__populate_fs: Could not allocate block in ext2 filesystem while writing file "libc.so.6"'
    with pytest.raises(Refused, match="does not fit in 2048 MiB"):
        build(places, Tools(fail={"mke2fs": said}))


@pytest.mark.usefixtures("offered")
def test_too_little_space_is_refused_before_anything_runs(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUILD_NEEDS_BYTES", 1 << 60)
    tools = Tools()
    with pytest.raises(Refused, match="are free"):
        build(places, tools)
    assert tools.ran == []


@pytest.mark.usefixtures("offered")
def test_a_user_may_take_an_image_but_not_build_one(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="built by root"):
        build(places, Tools())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    image = build(places, Tools())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert build(places, Tools()) == image


@pytest.mark.usefixtures("offered")
def test_of_two_builds_of_the_same_one_waits_and_takes_the_image_of_the_other(places: Places) -> None:
    second, images = Tools(), []
    thread = threading.Thread(target=lambda: images.append(build(places, second)))
    images.append(build(places, Tools(during=thread.start)))
    thread.join(30)
    assert images[0] == images[1]
    assert second.ran == []


@pytest.mark.usefixtures("offered")
def test_the_next_build_takes_away_what_a_killed_one_left(places: Places) -> None:
    wanted = build(places, Tools()).id
    store = ImageStore(places)
    store.remove(store.find(wanted), in_use=frozenset())
    store.new_build_folder(wanted)
    build(places, Tools())
    assert left_in(places) == [wanted]


def test_the_words_for_mmdebstrap() -> None:
    argv = build_argv(RECIPE, MIRROR, folder=Path("/c/it's"), debs=Path("/c/debs"))
    assert argv[:8] == ("setpriv", "--pdeathsig", "TERM", "--", "unshare", "--mount", "--", "mmdebstrap")
    assert argv[-3:] == (
        *("trixie", "/c/it's/tree"),
        "deb [signed-by=/keys/debian.gpg] http://mirror.example.org/debian trixie main",
    )
    assert "--aptopt=/c/it's/mirror.conf" in argv
    assert not any("Retries" in word for word in argv)
    assert "--include=bash,sed" in argv
    # The step is one word of the shell that mmdebstrap gives the hook to; so is a path with a quote in it.
    assert "--customize-hook=chroot \"$1\" /bin/sh -euc 'echo '\"'\"'a b'\"'\"'\n'" in argv
    assert "--customize-hook=tar-in '/c/it'\"'\"'s/tree.tar' /" in argv


def test_what_the_mirror_needs_is_in_a_file_for_us_alone(tmp_path: Path) -> None:
    write_options(replace(MIRROR, apt_options=('Acquire::http::Proxy "http://ada:secret@p"', "A 1")), tmp_path)
    file = tmp_path / OPTIONS
    assert (file.read_text(), file.stat().st_mode & 0o777) == (
        'Acquire::http::Proxy "http://ada:secret@p";\nA 1;\n',
        0o600,
    )


@pytest.mark.parametrize("names", [(), ("a_1_all.deb", "b_2_all.deb")])
def test_package_files_go_into_the_tree_and_out_of_it(tmp_path: Path, names: tuple[str, ...]) -> None:
    root, debs, fetched = tmp_path / "root", tmp_path / "it's debs", tmp_path / "fetched"
    for folder in (root / "etc", debs / "partial", fetched):
        folder.mkdir(parents=True)
    for name in names:
        (debs / name).write_text(name)

    def run(word: str) -> None:  # as mmdebstrap does
        subprocess.run(["sh", "-c", word.partition("-hook=")[2], "exec", root], check=True)

    for word in begin("setup", debs):
        run(word)
    assert sorted(path.name for path in (root / "var/cache/apt/archives").iterdir()) == sorted(names)
    run(keep_files(fetched))
    assert not list((root / "var/cache/apt/archives").iterdir())
    assert {path.name: path.read_text() for path in fetched.iterdir()} == {name: name for name in names}
    assert sorted(path.name for path in debs.glob("*.deb")) == sorted(names), "others read them too"


@pytest.mark.usefixtures("offered")
def test_packages_of_a_repository_are_taken_before_the_suites(places: Places, tmp_path: Path) -> None:
    repository = tmp_path / "0123"
    repository.mkdir()
    (repository / "bash_2_amd64.deb").write_bytes(b"new")
    recipe = replace(RECIPE, repository=repository)
    argv = build_argv(recipe, MIRROR, folder=Path("/c"), debs=Path("/c/debs"))
    assert argv[-1] == f"deb [trusted=yes] copy:{repository} ./"
    assert any("/ copy:/d" in word for word in argv), "a guest's apt would ask a folder of this machine"
    plain = build(places, Tools())
    image = build(places, Tools(installs="bash 2\n"), recipe)
    assert image.id != plain.id
    assert [(one.name, one.version) for one in image.packages] == [("bash", "2")]
    with pytest.raises(ToolOutput, match="bash 3"):
        build(places, Tools(installs="bash 3\n"), replace(recipe, name="other"))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EDQUOT, "quota"), True),
        (OSError(errno.EACCES, "no"), False),
        (CommandFailed(Result(Command.of("x"), 1, "", "E: You don't have enough free space in /v", 0, "")), True),
        (CommandFailed(Result(Command.of("x"), 1, "", "E: Unable to locate package", 0, "")), False),
    ],
)
def test_what_a_full_disk_says(error: BaseException, full: bool) -> None:
    assert says_full(error) is full


def test_images_of_one_base_begin_with_its_tree() -> None:
    recipe = replace(RECIPE, base=("bash",), repository=Path("/c/release"))
    base = Path("/c/it's.tar")
    argv = build_argv(recipe, MIRROR, folder=Path("/c"), debs=Path("/c/debs"), base=base)
    hooks = [word for word in argv if "-hook=" in word]
    assert hooks[0].startswith('--setup-hook=tar -C "$1" ')
    assert hooks[0].endswith(" -xf '/c/it'\"'\"'s.tar'")
    assert "--exclude=./etc/apt/sources.list " in hooks[0], "the base's sources have not the repository"
    upgraded, installed = (at for at, word in enumerate(hooks) if "apt-get" in word)
    assert hooks[upgraded].endswith("dist-upgrade"), "what the repository has of the base has to be taken"
    assert hooks[installed].endswith("install bash sed")
    assert not any(word.startswith("--include") for word in argv)
    without = build_argv(replace(recipe, repository=None), MIRROR, folder=Path("/c"), debs=Path("/c/debs"), base=base)
    assert not any("dist-upgrade" in word for word in without)


@pytest.mark.usefixtures("offered")
def test_the_tree_of_a_base_is_made_once(places: Places) -> None:
    recipe = replace(RECIPE, base=("bash",))
    tools = Tools()
    build(places, tools, recipe)
    build(places, tools, replace(recipe, name="other"))
    assert tools.ran.count("mmdebstrap") == 3, "the base, and each of the two"
    [archive] = ImageStore(places).bases.glob("*.tar")
    assert archive.read_bytes() == b"tree"
    assert not list(ImageStore(places).bases.glob("*.work"))


@pytest.mark.usefixtures("offered")
def test_a_base_that_failed_or_was_killed_leaves_nothing(places: Places) -> None:
    recipe, bases = replace(RECIPE, base=("bash",)), ImageStore(places).bases
    with pytest.raises(CommandFailed, match="it broke"):
        build(places, Tools(fail={"mmdebstrap": "it broke"}), recipe)
    [lock] = bases.iterdir()
    assert lock.stat().st_size == 0, "what the mirror needs may be a proxy's password"
    left = lock.with_suffix(".work")
    (left / "tree").mkdir(parents=True)
    build(places, Tools(), recipe)
    assert {path.suffix for path in bases.iterdir()} == {".lock", ".tar"}


@pytest.mark.usefixtures("offered")
def test_a_new_base_removes_old_ones_and_what_killed_builds_of_them_left(places: Places) -> None:
    bases = ImageStore(places).bases
    for name in ("trixie-old.tar", "trixie-new.tar"):
        bases.mkdir(parents=True, exist_ok=True)
        (bases / name).touch()
    for name in ("trixie-old.work", "trixie-new.work"):
        (bases / name / "tree").mkdir(parents=True)
    for old in bases.glob("*-old.*"):
        os.utime(old, (1, 1))
    build(places, Tools(), replace(RECIPE, base=("bash",)))
    assert {path.name for path in bases.iterdir()} >= {"trixie-new.tar", "trixie-new.work"}
    assert not list(bases.glob("*-old*"))
