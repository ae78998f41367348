# SPDX-License-Identifier: Apache-2.0
"""What `make install`, `make check` and setup.py leave and say, without root."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# An outer make hands its own flags and job pipes down; and it knows the commit.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYOCI_COMMIT"))
}


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--silent", *words],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where `make install` has put everything, and what it said."""
    place = tmp_path_factory.mktemp("installed")
    done = make("install", f"DESTDIR={place}", "PREFIX=/opt/pyoci")
    assert done.returncode == 0, done.stdout + done.stderr
    return place, done.stdout


def test_installed_command_runs_outside_of_the_tree(installed: tuple[Path, str]) -> None:
    place, _ = installed
    done = subprocess.run(
        [place / "opt/pyoci/bin/pyoci", "--version"], cwd="/", env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("pyoci version ")
    assert "commit: unknown" not in done.stdout


def test_the_command_for_podman_works_on_a_host_without_its_directory(
    installed: tuple[Path, str], tmp_path: Path
) -> None:
    place, said = installed
    (command,) = re.findall(r"^for podman: (.*)$", said, re.MULTILINE)
    here = command.replace("/etc/", f"{tmp_path}/etc/").replace(" /opt/", f" {place}/opt/")
    for _ in range(2):
        subprocess.run(["/bin/sh", "-ec", here], check=True)
    assert "pyoci = " in (tmp_path / "etc/containers/containers.conf.d/50-pyoci.conf").read_text()


def test_check_says_what_brings_a_missing_compiler() -> None:
    done = make("check-aarch64", "CROSS=nonesuch-")
    assert done.returncode != 0
    assert "nonesuch-gcc" in done.stderr and "make deps-test" in done.stderr


def test_a_build_by_pip_knows_the_commit(tmp_path: Path) -> None:
    """pip calls setup.py without make, which would tell it."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone of a repository")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=120,
        check=True,
    )
    commit = runpy.run_path(str(tmp_path / "pyoci/_commit.py"))["COMMIT"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert head.stdout.startswith(commit.removesuffix("-dirty")) and len(commit) >= 12
