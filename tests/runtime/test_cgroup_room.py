# SPDX-License-Identifier: Apache-2.0
"""pyoci.cgroup on the kernel's own control groups, v1 and v2, without a container around them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import cgroup, jsontext
from pyoci.cgroup import base, files, hierarchies
from pyoci.errors import CgroupError

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
    """The directories of these tests in all hierarchies, as far as they exist."""
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
    return cgroup.manage(cgroup.Host(True, [mount]), f"{PREFIX}/{name}", "cgroupfs")


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
        one.add(process.pid)
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def value(one: cgroup.Cgroup, file: str) -> str:
    directory = one.paths.get("unified") or one.paths[file.partition(".")[0]]
    return Path(directory, file).read_text().strip()


def there(one: cgroup.Cgroup) -> list[str]:
    return [directory for directory in one.paths.values() if os.path.exists(directory)]


# --- the life of a group ---------------------------------------------------------------------------------------------


def test_create_add_delete(group: Group, program: Any) -> None:
    one = group("a/b/box")
    one.delete()  # nothing there yet: fine
    one.create({})
    assert there(one) == list(one.paths.values())
    assert one.pids() == []
    process = program(one, "sleep", "100")
    assert one.pids() == [process.pid]
    # A controller that is mounted together with others is listed with each of them.
    own = hierarchies.parse_own(Path(f"/proc/{process.pid}/cgroup").read_text())
    assert {name: own[name] for name in one.paths} == dict.fromkeys(one.paths, f"{PREFIX}/a/b/box")
    assert one.kill(signal.SIGKILL) == 1
    assert process.wait(10) == -signal.SIGKILL
    one.delete()
    assert there(one) == []
    one.delete()
    assert (one.pids(), one.kill(9), one.kill(15), one.frozen()) == ([], 0, 0, False)
    one.thaw()
    with pytest.raises(CgroupError):
        one.freeze()


def test_the_saved_state_is_enough(group: Group, program: Any) -> None:
    one = group("box")
    one.create({})
    process = program(one, "sleep", "100")
    later = cgroup.from_state(jsontext.loads(jsontext.dumps(one.state())))
    assert later.pids() == [process.pid]
    assert later.kill(signal.SIGKILL) == 1
    process.wait(10)
    later.delete()
    assert there(one) == []


def test_a_used_group_is_refused_and_stays(group: Group, program: Any) -> None:
    one = group("box")
    one.create({})
    program(one, "sleep", "100")
    with pytest.raises(CgroupError, match="container's cgroup .* is not empty"):
        group("box").create({})
    assert len(one.pids()) == 1
    one.kill(signal.SIGKILL)
    one.delete()


def test_a_used_sub_group_is_refused(group: Group, program: Any) -> None:
    one, below = group("box"), group("box/below")
    one.create({})
    below.create({})
    program(below, "sleep", "100")
    with pytest.raises(CgroupError, match="is not empty"):
        group("box").create({})
    one.kill(signal.SIGKILL)
    one.delete()


def test_a_frozen_group_is_refused(group: Group) -> None:
    one = group("box")
    one.create({})
    one.freeze()
    with pytest.raises(CgroupError, match="is frozen"):
        group("box").create({})
    one.thaw()
    group("box").create({})  # empty and not frozen: used
    one.delete()


def test_delete_takes_the_groups_below(group: Group) -> None:
    one = group("box")
    one.create({})
    for name in ("x", "x/y", "x/y/z", "w"):
        group(f"box/{name}").create({})
    one.delete()
    assert there(one) == []


def test_delete_waits_for_a_process_that_is_about_to_end(group: Group, program: Any) -> None:
    one = group("box")
    one.create({})
    process = program(one, "sh", "-c", "trap 'sleep 0.3; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    assert process.stdout.readline() == "ready\n"
    assert one.kill(signal.SIGTERM) >= 1
    begun = time.monotonic()
    one.delete()
    assert 0.2 < time.monotonic() - begun < 5
    assert process.wait(10) == 7


def test_delete_gives_up_on_a_process_that_stays(group: Group, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "WAIT_SECONDS", 0.3)
    one = group("box")
    one.create({})
    process = program(one, "sleep", "100")
    begun = time.monotonic()
    with pytest.raises(CgroupError, match=rf"1 processes \({process.pid}\) still in it"):
        one.delete()
    assert 0.25 < time.monotonic() - begun < 3
    one.kill(signal.SIGKILL)
    one.delete()


def test_add_of_a_process_that_is_gone(group: Group) -> None:
    one = group("box")
    one.create({})
    gone = subprocess.Popen(["true"])
    gone.wait(10)
    with pytest.raises(CgroupError, match="cgroup.procs: no such process"):
        one.add(gone.pid)
    one.delete()


# --- signals and freezing --------------------------------------------------------------------------------------------


def test_kill_reaches_the_groups_below(group: Group, program: Any) -> None:
    one, below = group("box"), group("box/below")
    one.create({})
    below.create({})
    both = [program(place, "sleep", "100") for place in (one, below)]
    assert sorted(one.pids()) == sorted(process.pid for process in both)
    assert one.kill(signal.SIGTERM) == 2
    assert [process.wait(10) for process in both] == [-signal.SIGTERM] * 2
    one.delete()


def test_a_number_that_is_no_longer_listed_is_spared(
    group: Group, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ended and its number went to a stranger between reading the list and opening its pidfd."""
    one, elsewhere = group("box"), group("elsewhere")
    one.create({})
    elsewhere.create({})
    listed, stranger = program(one, "sleep", "100"), program(elsewhere, "sleep", "100")
    answers = iter([[listed.pid, stranger.pid], [listed.pid]])
    with monkeypatch.context() as patched:
        patched.setattr(files, "processes", lambda directory: next(answers))
        assert one.kill(signal.SIGTERM) == 1
    assert listed.wait(10) == -signal.SIGTERM
    assert stranger.poll() is None
    elsewhere.kill(signal.SIGKILL)
    for place in (one, elsewhere):
        place.delete()


def test_frozen_processes_stand_until_thawed(group: Group, program: Any) -> None:
    one = group("box")
    one.create({})
    process = program(one, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do :; done")
    assert process.stdout.readline() == "ready\n"
    one.freeze()
    assert one.frozen()
    used = Path(f"/proc/{process.pid}/stat").read_text()
    time.sleep(0.1)
    assert Path(f"/proc/{process.pid}/stat").read_text() == used, "it used no time"
    assert one.kill(signal.SIGTERM) == 1
    time.sleep(0.05)
    assert process.poll() is None
    one.thaw()
    assert process.wait(10) == 7
    assert not one.frozen()
    one.delete()


def test_frozen_is_about_the_group_itself(group: Group) -> None:
    one, below = group("box"), group("box/below")
    one.create({})
    below.create({})
    one.freeze()
    assert (one.frozen(), below.frozen()) == (True, False)
    one.thaw()
    one.delete()


def test_sigkill_reaches_a_frozen_group(group: Group, program: Any) -> None:
    one = group("box")
    one.create({})
    process = program(one, "sleep", "100")
    one.freeze()
    assert one.kill(signal.SIGKILL) == 1
    assert process.wait(10) == -signal.SIGKILL
    one.delete()


def test_sigkill_reaches_what_forks_without_end(group: Group, program: Any) -> None:
    one = group("box")
    one.create({})
    # Each process hands over to its child and ends: a list of them is out of date when it has been read.
    relay = "import os, time\nend = time.monotonic() + 8\nwhile time.monotonic() < end:\n if os.fork(): os._exit(0)"
    chains = [program(one, sys.executable, "-IS", "-c", relay) for _ in range(20)]
    for chain in chains:
        chain.wait(10)
    begun = time.monotonic()
    assert one.kill(signal.SIGKILL) >= 1
    one.delete()
    assert time.monotonic() - begun < 5, "they were not all killed: the last ended by itself"


# --- what only v2 has ----------------------------------------------------------------------------------------------


def test_v2_clone_into_cgroup(v2: Group) -> None:
    one = v2("box")
    one.create({})
    descriptor = one.descriptor()
    assert not os.get_inheritable(descriptor)
    pid = clone_into(descriptor)
    try:
        assert one.pids() == [pid]
    finally:
        os.close(descriptor)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    one.delete()


def clone_into(descriptor: int) -> int:
    """clone3(2) with CLONE_INTO_CGROUP: a child that sleeps."""
    into_cgroup, number = 0x200000000, 435
    arguments = (ctypes.c_uint64 * 11)(into_cgroup, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, descriptor)
    pid: int = ctypes.CDLL(None, use_errno=True).syscall(number, arguments, ctypes.sizeof(arguments))
    if pid == 0:
        while True:
            time.sleep(1)
    assert pid > 0, os.strerror(ctypes.get_errno())
    return pid


def test_host_sees_a_unified_mount() -> None:
    """In a mount namespace of its own, where /sys/fs/cgroup is cgroup2."""
    code = (
        "from pyoci import cgroup\n"
        "host = cgroup.host()\n"
        "one = cgroup.manage(host, '/x', 'cgroupfs')\n"
        "print(host.unified, host.controllers, one.state()['paths'], host.own['unified'][0])\n"
    )
    script = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-Pc", code]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True {} {'unified': '/sys/fs/cgroup/x'} /\n"
