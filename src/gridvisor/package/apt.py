"""Debian's apt over lists of our own: any suite can be asked on any Debian, and the machine's own apt is not touched.

Every suite has a root of its own below the cache folder, so that a question about one is never answered from another.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from gridvisor.core.errors import Refused, ToolOutput
from gridvisor.core.files import locked, write_whole
from gridvisor.core.places import Places
from gridvisor.package.mirror import Mirror
from gridvisor.run.command import Command, Result, script
from gridvisor.run.target import Target

UPDATE_TIMEOUT_S = 600
DOWNLOAD_TIMEOUT_S = 1800
QUERY_TIMEOUT_S = 120
MAX_AGE_H = 12.0

_URI_LINE = re.compile(r"'\S+' ([^_]+)_([^_]+)_([^_]+)\.deb \d+ SHA256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Candidate:
    """The version of a package that a suite offers, what it depends on (deb-control(5)) and its hash."""

    version: str
    suite: str
    depends: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """One package file, exactly."""

    name: str
    version: str
    architecture: str
    sha256: str


class Apt:
    """apt with private lists of `mirror` below `places.cache`; safe for many processes at once. Needs no root."""

    def __init__(self, places: Places, mirror: Mirror, *, target: Target) -> None:
        # Not by a link: apt is told whole paths, and those of a home that shares this cache may be gone tomorrow.
        self._cache = (places.cache / "apt").resolve()
        self._mirror = mirror
        self._target = target

    def update(self, suite: str, *, max_age_h: float = MAX_AGE_H, force: bool = False) -> None:
        """Fetch the package lists of `suite`, unless those we have are younger than `max_age_h` hours.

        Raises CommandFailed when the mirror does not answer or has no such suite.
        """
        root = self._root(suite)
        stamp = root / "updated"
        with locked(root / "lock"):
            if not force and stamp.exists() and time.time() - stamp.stat().st_mtime < max_age_h * 3600:
                return
            self._lay_out(root, suite)
            self._run(root, "apt-get", "update", "-qq", timeout_s=UPDATE_TIMEOUT_S)
            required = required_packages(self._run(root, "apt-cache", "dumpavail").stdout)
            write_whole(root / "required", "\n".join(required))
            # Answers belong to the lists they were drawn from; the stamp comes last, so a killed update counts as none.
            shutil.rmtree(root / "resolved", ignore_errors=True)
            stamp.touch()

    def candidate(self, suite: str, package: str) -> Candidate | None:
        """What `suite` offers of `package`, None when it has no such package."""
        root = self._ready(suite)
        shown = self._run(root, "apt-cache", "show", "--no-all-versions", package, check=False)
        if shown.status == 0:
            return candidate_of(shown.stdout, suite)
        if "No packages found" in shown.stderr:
            return None
        raise ToolOutput(f"'apt-cache show {package}' for '{suite}' said: {shown.stderr.strip()}")

    def resolve(self, suite: str, packages: Iterable[str]) -> tuple[PackageVersion, ...]:
        """Every package of a minimal system of `suite` that also has `packages`, sorted by name.

        A minimal system is what `mmdebstrap --variant=minbase` makes: essential and required packages, and apt;
        no recommended ones. The answer is kept until the next update. Raises CommandFailed when apt cannot have them.
        """
        root = self._ready(suite)
        wanted = sorted(set(packages))
        answer = root / "resolved" / f"{_short_hash(*wanted)}.json"
        try:
            return tuple(PackageVersion(**one) for one in json.loads(answer.read_text()))
        except FileNotFoundError:
            pass
        with locked(root / "lock"):
            required = (root / "required").read_text().split()
            words = ("install", "--yes", "--print-uris", "--no-install-recommends", "?essential", "apt")
            said = self._run(root, "apt-get", "-qq", *words, *required, *wanted).stdout
            found = packages_of_uris(said)
            answer.parent.mkdir(exist_ok=True)
            write_whole(answer, json.dumps([asdict(one) for one in found]))
        return found

    def download(self, suite: str, package: str) -> Path:
        """The package file of the candidate in `suite`, from the cache when it was fetched before. Leave it there."""
        candidate = self.candidate(suite, package)
        if candidate is None:
            raise Refused(f"The suite '{suite}' of {self._mirror.uri} has no package '{package}'.")
        root = self._root(suite)
        kept = self._cache / "files" / f"{package}_{candidate.sha256}.deb"
        with locked(kept.with_suffix(".lock")):
            if not kept.exists():
                with tempfile.TemporaryDirectory(dir=root, prefix="fetch-") as folder:
                    # apt compares the hash before the file gets its name.
                    fetch = script(
                        'cd "$1" && exec apt-get -qq download "$2"', folder, f"{package}={candidate.version}"
                    )
                    self._run(root, *fetch.argv, timeout_s=DOWNLOAD_TIMEOUT_S)
                    (fetched,) = Path(folder).glob("*.deb")
                    fetched.replace(kept)
        return kept

    def _root(self, suite: str) -> Path:
        return root_of(self._cache, self._mirror, suite)

    def _ready(self, suite: str) -> Path:
        self.update(suite)
        return self._root(suite)

    def _lay_out(self, root: Path, suite: str) -> None:
        for folder in ("lists/partial", "archives/partial", "etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        write_whole(root / "etc/sources.list", source_line(self._mirror, suite))

    def _run(self, root: Path, *argv: str, timeout_s: float = QUERY_TIMEOUT_S, check: bool = True) -> Result:
        # Named by the environment and not by -o, the file is read before /etc/apt and keeps apt away from there.
        command = Command(argv, {"APT_CONFIG": str(self._configuration(root))})
        return self._target.run(command, timeout_s=timeout_s, check=check)

    def _configuration(self, root: Path) -> Path:
        """The apt.conf of these lists; named by what it says, since it has whole paths, and the cache may move."""
        text = configuration(self._mirror, root)
        file = root / f"apt-{_short_hash(text)}.conf"
        if not file.exists():
            # May name a proxy with its password, hence the mode.
            write_whole(file, text, mode=0o600)
        return file


def root_of(cache: Path, mirror: Mirror, suite: str) -> Path:
    """The folder below `cache` with the lists that an Apt has of that suite."""
    return cache / f"{suite}-{_short_hash(mirror.uri, suite)}"


def source_line(mirror: Mirror, suite: str) -> str:
    """The sources.list of one suite."""
    signed = f"[signed-by={mirror.keyring}] " if mirror.keyring else ""
    return f"deb {signed}{mirror.uri} {suite} main\n"


def configuration(mirror: Mirror, root: Path) -> str:
    """An apt.conf(5) that keeps apt below `root`, except for the keys and mirror passwords that this machine trusts."""
    lines = (
        f'Dir "{root}"',
        f'Dir::State "{root}"',
        f'Dir::State::status "{root}/status"',
        f'Dir::Cache "{root}"',
        f'Dir::Etc "{root}/etc"',
        f'Dir::Log "{root}"',
        'Dir::Etc::trusted "/etc/apt/trusted.gpg"',
        'Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d"',
        'Dir::Etc::netrc "/etc/apt/auth.conf"',
        'Dir::Etc::netrcparts "/etc/apt/auth.conf.d"',
        'Acquire::Languages "none"',
        # Without it a list that could not be fetched is a warning, and the old one is taken.
        'APT::Update::Error-Mode "any"',
        # Lists print MD5 sums otherwise.
        'Acquire::ForceHash "SHA256"',
        # The cache may lie below a home that apt's own user cannot enter.
        'APT::Sandbox::User ""',
        *mirror.apt_options,
    )
    return "".join(f"{line};\n" for line in lines)


def candidate_of(text: str, suite: str) -> Candidate:
    """The first package in what `apt-cache show` printed."""
    fields = {}
    for line in text.split("\n\n")[0].splitlines():
        key, colon, value = line.partition(": ")
        if colon and not line.startswith(" "):
            fields[key] = value
    if not {"Version", "SHA256"} <= fields.keys():
        raise ToolOutput(f"'apt-cache show' printed no version and hash: {text[:200]!r}")
    return Candidate(fields["Version"], suite, fields.get("Depends", ""), fields["SHA256"])


def required_packages(text: str) -> list[str]:
    """Names of the packages of priority 'required' in what `apt-cache dumpavail` printed, sorted."""
    required, name = [], ""
    for line in text.splitlines():
        if line.startswith("Package: "):
            name = line[len("Package: ") :]
        elif line == "Priority: required":
            required.append(name)
    return sorted(required)


def packages_of_uris(text: str) -> tuple[PackageVersion, ...]:
    """The packages in what `apt-get install --print-uris` printed, sorted by name."""
    found = []
    for line in text.splitlines():
        if not line.startswith("'"):
            continue
        match = _URI_LINE.fullmatch(line)
        if match is None:
            raise ToolOutput(f"'apt-get --print-uris' printed a line that is not known: {line!r}")
        name, version, architecture, sha256 = match.groups()
        found.append(PackageVersion(name, unquote(version), architecture, sha256))
    return tuple(sorted(found, key=lambda one: one.name))


def packages_in(folder: Path) -> tuple[PackageVersion, ...]:
    """The packages whose files are in a folder, called as apt calls them, sorted by name."""
    found = []
    for deb in sorted(folder.glob("*_*_*.deb")):
        name, version, architecture = deb.stem.split("_")
        with deb.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(PackageVersion(name, unquote(version), architecture, sha256))
    return tuple(found)


def _short_hash(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
