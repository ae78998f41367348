# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of pyoci.cgroup on the control groups of this machine, v1 and v2."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import cgroup

PREFIX = f"/pyoci-room-{os.getpid()}"
HOST = cgroup.host()
MIB = 1 << 20

Group = Callable[[str], cgroup.Cgroup]


def v2_mount() -> str:
    for mount in HOST.mounts:
        if mount.unified:
            return mount.mountpoint
    pytest.skip("cgroup2 is not mounted on this host")


def has_v2(controller: str) -> bool:
    return controller in Path(v2_mount(), "cgroup.controllers").read_text().split()


def tops() -> list[Path]:
    """Returns the directories of these tests in all hierarchies, as far as they exist."""
    return [place for mount in HOST.mounts if (place := Path(mount.mountpoint + PREFIX)).exists()]


@pytest.fixture(name="cleaned")
def no_group_left() -> Iterator[None]:
    """No test leaves a cgroup behind."""
    assert tops() == []
    yield
    left = sorted({path for top in tops() for path in top.rglob("*") if path.is_dir()}, reverse=True)
    for path in [*left, *tops()]:
        path.rmdir()


def make_v1(name: str) -> cgroup.Cgroup:
    if not HOST.controllers:
        pytest.skip("this host has no cgroup v1 hierarchy")
    return cgroup.manage(HOST, f"{PREFIX}/{name}", "cgroupfs")


def make_v2(name: str) -> cgroup.Cgroup:
    # On a hybrid host too: the same code, as if the cgroup2 mount were all there is.
    mount = cgroup.Mount(("unified",), v2_mount(), "/", True)
    available = Path(v2_mount(), "cgroup.controllers").read_text().split()
    return cgroup.manage(cgroup.Host(True, [mount], available), f"{PREFIX}/{name}", "cgroupfs")


@pytest.fixture(name="group", params=[make_v1, make_v2], ids=["v1", "v2"])
def either_group(request: pytest.FixtureRequest, cleaned: None) -> Group:
    make: Group = request.param
    return make


@pytest.fixture(name="v1")
def v1_group(cleaned: None) -> Group:
    return make_v1


@pytest.fixture(name="v2")
def v2_group(cleaned: None) -> Group:
    return make_v2


@pytest.fixture(name="program")
def run_programs() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs, in a cgroup from their first instruction on, and ends those that still run."""
    started: list[subprocess.Popen[str]] = []

    def start(one: cgroup.Cgroup, *command: str) -> subprocess.Popen[str]:
        waits = ["/bin/sh", "-c", 'read go; exec "$@"', "sh", *command]
        process = subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        enter(one, process.pid)
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def make(one: cgroup.Cgroup, resources: Any = None) -> None:
    """The first step of a creation."""
    one.precreate(one.plan(resources or {}))


def enter(one: cgroup.Cgroup, pid: int) -> None:
    """Moves a process into a group, as a system administrator does."""
    for directory in dict.fromkeys(one.paths.values()):
        Path(directory, "cgroup.procs").write_text(str(pid))


def value(one: cgroup.Cgroup, file: str) -> str:
    directory = one.paths.get(file.partition(".")[0]) or one.paths["unified"]
    return Path(directory, file).read_text().strip()


def there(one: cgroup.Cgroup) -> list[str]:
    return [directory for directory in one.paths.values() if os.path.exists(directory)]
