# SPDX-License-Identifier: Apache-2.0
"""The cache of compiled programs: it changes nothing but time, and believes nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyoci import seccomp
from pyoci.errors import SpecError
from pyoci.seccomp import store

PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
}
LIBRARY = "pyoci.seccomp.profile"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache/seccomp"


def only_file(cache: Path) -> Path:
    (file,) = cache.iterdir()
    return file


def loads_library(cache: Path | str, profile: dict[str, Any] = PROFILE) -> bool:
    """Whether a fresh process needs libseccomp for the profile. Its program has to be the right one either way."""
    code = (
        "import sys; from pyoci import seccomp\n"
        f"program = seccomp.compile({profile!r}, {str(cache)!r})\n"
        f"print(program.bpf.hex(), program.flags, {LIBRARY!r} in sys.modules)\n"
        "print(any('libseccomp' in line for line in open('/proc/self/maps')))"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-Pc", code], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    bpf, flags, compiled, mapped = done.stdout.split()
    plain = seccomp.compile(profile, None)
    assert (bpf, int(flags)) == (plain.bpf.hex(), plain.flags)
    assert compiled == mapped
    return compiled == "True"


def test_libseccomp_is_loaded_once(cache: Path) -> None:
    assert loads_library(cache)
    assert not loads_library(cache)
    assert loads_library(cache, {**PROFILE, "defaultAction": "SCMP_ACT_LOG"})
    assert not loads_library(cache)


def test_flags_are_not_part_of_the_program(cache: Path) -> None:
    plain = seccomp.compile(PROFILE, str(cache))
    logged = seccomp.compile({**PROFILE, "flags": ["SECCOMP_FILTER_FLAG_LOG"]}, str(cache))
    assert (plain.bpf, plain.flags, logged.flags) == (logged.bpf, 4, 2)


def test_files_are_for_their_owner_only(cache: Path) -> None:
    before = os.umask(0)
    try:
        seccomp.compile(PROFILE, str(cache))
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o7777 for path in (cache.parent, cache, only_file(cache))]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-8],
        lambda content: content[:-1],
        lambda content: content + bytes(8),
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
        lambda content: b"X" + content[1:],
        lambda content: os.urandom(len(content)),
        lambda content: content * 400,
    ],
)
def test_a_damaged_file_is_written_anew(cache: Path, damage: Any) -> None:
    seccomp.compile(PROFILE, str(cache))
    file = only_file(cache)
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert loads_library(cache)
    assert file.read_bytes() == good
    assert not loads_library(cache)


def test_a_file_under_another_name_is_not_taken(cache: Path) -> None:
    other = {**PROFILE, "defaultAction": "SCMP_ACT_LOG"}
    seccomp.compile(PROFILE, str(cache))
    only_file(cache).rename(cache / store.name(other))
    assert loads_library(cache, other)


def test_another_libseccomp_compiles_anew(cache: Path) -> None:
    library = cache.parent.parent / "libseccomp.so.2"
    library.write_bytes(b"one")
    program = seccomp.compile(PROFILE, None)
    file = store.name(PROFILE)
    store.save(str(cache), file, program.bpf, str(library))
    assert store.load(str(cache), file) == program.bpf
    library.write_bytes(b"another")
    assert store.load(str(cache), file) is None
    library.unlink()
    assert store.load(str(cache), file) is None
    store.save(str(cache), file, program.bpf, str(library))
    assert store.load(str(cache), file) is None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter_is_not_used(cache: Path, mode: int) -> None:
    seccomp.compile(PROFILE, str(cache))
    cache.chmod(mode)
    assert loads_library(cache)
    only_file(cache).unlink()
    assert loads_library(cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("above", [False, True], ids=["the directory", "the one above"])
def test_a_symlink_is_not_followed(cache: Path, above: bool) -> None:
    """Neither to read what is there, nor to make anything where it leads."""
    target = cache.parent.parent / "target"
    seccomp.compile(PROFILE, str(cache))
    (cache.parent if above else cache).rename(target)
    (cache.parent if above else cache).symlink_to(target)
    other = {**PROFILE, "defaultAction": "SCMP_ACT_LOG"}
    before = sorted(target.rglob("*"))
    assert loads_library(cache)
    assert loads_library(cache, other)
    assert sorted(target.rglob("*")) == before


def test_a_file_that_others_may_read_is_not_used(cache: Path) -> None:
    seccomp.compile(PROFILE, str(cache))
    only_file(cache).chmod(0o644)
    assert loads_library(cache)
    assert only_file(cache).stat().st_mode & 0o777 == 0o600
    assert not loads_library(cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_user_owns_is_not_used(cache: Path) -> None:
    seccomp.compile(PROFILE, str(cache))
    os.chown(only_file(cache), 1, 1)
    assert store.load(str(cache), store.name(PROFILE)) is None
    os.chown(only_file(cache), 0, 0)
    assert store.load(str(cache), store.name(PROFILE)) is not None
    os.chown(cache, 1, 1)
    assert store.load(str(cache), store.name(PROFILE)) is None


def test_links_and_pipes_are_not_followed(cache: Path, tmp_path: Path) -> None:
    seccomp.compile(PROFILE, str(cache))
    file = only_file(cache)
    kept = file.rename(tmp_path / "kept")
    file.symlink_to(kept)
    assert store.load(str(cache), file.name) is None
    file.unlink()
    os.mkfifo(file, 0o600)
    assert store.load(str(cache), file.name) is None, "and it did not wait for a writer"
    file.unlink()
    kept.rename(file)
    real = cache.rename(tmp_path / "real")
    cache.symlink_to(real)
    assert store.load(str(cache), file.name) is None


@pytest.mark.parametrize("place", ["/proc/nowhere/seccomp", "/dev/null/seccomp", "/nowhere/at/all"])
def test_a_cache_that_cannot_be_is_done_without(place: str) -> None:
    assert loads_library(place)


def test_faults_are_not_kept(cache: Path) -> None:
    bad: Any = {"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_Z80"]}
    for _ in range(2):
        with pytest.raises(SpecError):
            seccomp.compile(bad, str(cache))
    assert not cache.exists()


def test_a_full_cache_is_emptied(cache: Path) -> None:
    cache.mkdir(mode=0o700, parents=True)
    for number in range(store._MOST_FILES):
        (cache / f"{number}.bpf").touch(0o600)
    seccomp.compile(PROFILE, str(cache))
    assert only_file(cache).name == store.name(PROFILE)


def test_many_at_once(cache: Path) -> None:
    """Several runtimes start with an empty cache: each gets its program, and one file is there in the end."""
    code = f"from pyoci import seccomp; print(seccomp.compile({PROFILE!r}, {str(cache)!r}).bpf.hex())"
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    processes = [
        subprocess.Popen([sys.executable, "-Pc", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(8)
    ]
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert answers == {seccomp.compile(PROFILE, None).bpf.hex()}
    assert only_file(cache).name == store.name(PROFILE)
    assert not loads_library(cache)
