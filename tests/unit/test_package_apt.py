"""What apt prints is read exactly, and its configuration keeps it in our folder."""

from pathlib import Path

import pytest

from gridvisor.core.errors import ToolOutput
from gridvisor.package.apt import (
    PackageVersion,
    candidate_of,
    configuration,
    packages_of_uris,
    required_packages,
    source_line,
)
from gridvisor.package.mirror import Mirror

HASH = "ee81302a1d5b7434762b6e784a572854d4b6cf6235e33e2d104ad4e1cae71ab4"
POOL = "http://mirror.example.org/debian/pool/main"


def test_uris_give_exact_versions_epoch_and_all() -> None:
    said = (
        "Reading package lists...\n"
        f"'{POOL}/s/systemd/systemd_257.13-1%7edeb13u1_amd64.deb' systemd_257.13-1~deb13u1_amd64.deb 1 SHA256:{HASH}\n"
        f"'{POOL}/p/passwd/login_4.16_all.deb' login_1%3a4.16_all.deb 2 SHA256:{HASH}\n"
    )
    assert packages_of_uris(said) == (
        PackageVersion("login", "1:4.16", "all", HASH),
        PackageVersion("systemd", "257.13-1~deb13u1", "amd64", HASH),
    )


def test_uri_without_a_sha256_is_not_taken() -> None:
    with pytest.raises(ToolOutput, match="is not known"):
        packages_of_uris(f"'{POOL}/a_1_all.deb' a_1_all.deb 1 MD5Sum:4eafe1c68d4cbc53de8557a0dbc68aec\n")


def test_candidate_is_the_first_stanza() -> None:
    text = f"Package: linux\nVersion: 7.2um1\nDepends: libc6 (>= 2.38)\nTag: a,\n b: c\nSHA256: {HASH}\n\nVersion: 1\n"
    found = candidate_of(text, "sid")
    assert (found.version, found.suite, found.depends, found.sha256) == ("7.2um1", "sid", "libc6 (>= 2.38)", HASH)


def test_candidate_without_hash_is_an_error() -> None:
    with pytest.raises(ToolOutput):
        candidate_of("Package: linux\nVersion: 1\n", "sid")


def test_required_packages_by_priority() -> None:
    text = (
        "Package: zlib\nPriority: required\n\nPackage: vim\nPriority: optional\n\nPackage: bash\nPriority: required\n"
    )
    assert required_packages(text) == ["bash", "zlib"]


def test_configuration_stays_in_its_root_and_carries_the_mirror() -> None:
    text = configuration(Mirror("http://mirror.example.org/debian", None, ('Acquire::Retries "3"',)), Path("/c/apt"))
    assert 'Acquire::Retries "3";\n' in text
    assert 'Dir::State::status "/c/apt/status";\n' in text
    assert all(line.endswith(";") for line in text.splitlines())


def test_source_line_names_the_keyring_when_there_is_one() -> None:
    uri = "http://mirror.example.org/debian"
    assert source_line(Mirror(uri, Path("/k.gpg")), "sid") == f"deb [signed-by=/k.gpg] {uri} sid main\n"
    assert source_line(Mirror(uri), "sid") == f"deb {uri} sid main\n"
