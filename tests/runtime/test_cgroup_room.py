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
from pyoci.cgroup import base, hierarchies
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


@pytest.fixture
def cleaned() -> Iterator[None]:
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


@pytest.fixture(params=[make_v1, make_v2], ids=["v1", "v2"])
def group(request: pytest.FixtureRequest, cleaned: None) -> Group:
    make: Group = request.param
    return make


@pytest.fixture
def v1(cleaned: None) -> Group:
    return make_v1


@pytest.fixture
def v2(cleaned: None) -> Group:
    return make_v2


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
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
    relay = "import os\nfor i in range(10**9):\n if os.fork(): os._exit(0)"
    chains = [program(one, sys.executable, "-IS", "-c", relay) for _ in range(3)]
    for chain in chains:
        chain.wait(10)
    assert one.kill(signal.SIGKILL) >= 1
    one.delete()
    assert one.pids() == []


# --- limits: v1 ------------------------------------------------------------------------------------------------------


def test_v1_limits(v1: Group) -> None:
    one = v1("a/box")
    one.create(
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "swappiness": 7,
                       "disableOOMKiller": True, "kernel": 5 * MIB},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 2000, "cpus": "0"},
            "pids": {"limit": 44},
        }
    )  # fmt: skip
    expected = {
        "memory.limit_in_bytes": 64 * MIB,
        "memory.memsw.limit_in_bytes": 96 * MIB,
        "memory.soft_limit_in_bytes": 32 * MIB,
        "memory.swappiness": 7,
        "cpu.shares": 512,
        "cpu.cfs_quota_us": 50000,
        "cpu.cfs_period_us": 100000,
        "cpu.cfs_burst_us": 2000,
        "cpuset.cpus": 0,
        "pids.max": 44,
    }
    assert {file: int(value(one, file)) for file in expected} == expected
    assert "oom_kill_disable 1" in value(one, "memory.oom_control").splitlines()
    assert value(one, "cpuset.mems") == Path(HOST.controllers["cpuset"].mountpoint, "cpuset.mems").read_text().strip()
    one.delete()


def test_v1_without_limits_inherits_the_cpuset(v1: Group) -> None:
    one = v1("a/b/box")
    one.create({})
    root = Path(HOST.controllers["cpuset"].mountpoint)
    assert value(one, "cpuset.cpus") == (root / "cpuset.cpus").read_text().strip()
    assert int(value(one, "memory.limit_in_bytes")) > 1 << 60
    one.delete()


def test_v1_memory_and_swap_in_any_order(v1: Group) -> None:
    one = v1("box")
    one.create({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    for limit, both in ((128, 256), (32, 48), (64, 64), (256, 256), (8, 8)):
        one.update({"memory": {"limit": limit * MIB, "swap": both * MIB}})
        assert int(value(one, "memory.limit_in_bytes")) == limit * MIB
        assert int(value(one, "memory.memsw.limit_in_bytes")) == both * MIB
    one.update({"memory": {"limit": -1}})
    assert int(value(one, "memory.limit_in_bytes")) > 1 << 60
    assert int(value(one, "memory.memsw.limit_in_bytes")) > 1 << 60
    with pytest.raises(CgroupError, match=r"/linux/resources/memory/swap asks for 1048576"):
        one.update({"memory": {"swap": MIB}})
    one.delete()


def test_v1_quota_and_period_in_any_order(v1: Group) -> None:
    above, one = v1("box"), v1("box/inner")
    above.create({"cpu": {"quota": 10000, "period": 100000}})
    one.create({"cpu": {"quota": 10000, "period": 100000}})
    # The period alone would be 20 % of a CPU, more than the group above has: refused until the quota is there.
    one.update({"cpu": {"quota": 5000, "period": 50000}})
    assert (value(one, "cpu.cfs_quota_us"), value(one, "cpu.cfs_period_us")) == ("5000", "50000")
    one.update({"cpu": {"quota": 10000, "period": 100000}})
    assert (value(one, "cpu.cfs_quota_us"), value(one, "cpu.cfs_period_us")) == ("10000", "100000")
    with pytest.raises(CgroupError, match=r"cpu.cfs_quota_us: .* \(/linux/resources/cpu/quota asks for 90000\)"):
        one.update({"cpu": {"quota": 90000}})
    above.delete()


def test_v1_idle(v1: Group) -> None:
    one = v1("box")
    one.create({"cpu": {"shares": 2048, "idle": 1}})
    assert value(one, "cpu.idle") == "1"
    one.update({"cpu": {"shares": 2048, "idle": 0}})
    assert (value(one, "cpu.idle"), value(one, "cpu.shares")) == ("0", "2048")
    one.delete()


def test_v1_update_touches_only_what_is_named(v1: Group) -> None:
    one = v1("box")
    one.create({"memory": {"limit": 64 * MIB}, "pids": {"limit": 9}, "devices": [{"allow": False, "access": "rwm"}]})
    devices = value(one, "devices.list")
    one.update({"pids": {"limit": -1}})
    assert value(one, "pids.max") == "max"
    assert int(value(one, "memory.limit_in_bytes")) == 64 * MIB
    assert value(one, "devices.list") == devices
    one.delete()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"cpu": {"cpus": "4090"}}, "/linux/resources/cpu/cpus asks for 4090"),
        ({"cpu": {"quota": 1}}, "/linux/resources/cpu/quota asks for 1"),
        ({"unified": {"memory.high": "1"}}, "/linux/resources/unified: needs cgroup v2"),
        ({"devices": [{"allow": True, "access": "x"}]}, "/linux/resources/devices/0/access"),
    ],
)
def test_v1_what_fails_midway_is_undone(v1: Group, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(CgroupError, match=said):
        v1("a/b/box").create({"pids": {"limit": 5}, **bad})
    assert tops() == []


def test_v1_undoing_spares_what_was_there(v1: Group) -> None:
    one = v1("a/box")
    one.create({})
    with pytest.raises(CgroupError):
        v1("a/other").create({"cpu": {"quota": 1}})
    assert there(v1("a/other")) == []
    assert there(one) == list(one.paths.values())
    one.delete()


def test_v1_missing_controllers(v1: Group) -> None:
    v1("box")
    bare = cgroup.Host(False, [mount for mount in HOST.mounts if "pids" in mount.names])
    one = cgroup.manage(bare, f"{PREFIX}/box", "cgroupfs")
    for part, said in (
        ({"memory": {"limit": MIB}}, "memory/limit: the memory controller is not mounted"),
        ({"cpu": {"cpus": "0"}}, "cpu/cpus: the cpuset controller is not mounted"),
        ({"devices": [{"allow": False, "access": "rwm"}]}, "devices: the devices controller is not mounted"),
    ):
        with pytest.raises(CgroupError, match=f"^/linux/resources/{said}"):
            one.create(part)
    assert tops() == []
    with pytest.raises(CgroupError, match="the freezer controller is not mounted"):
        one.freeze()
    one.create({"pids": {"limit": 3}})
    assert value(one, "pids.max") == "3"
    one.delete()


def test_v1_kill_without_a_freezer(v1: Group, program: Any) -> None:
    v1("box")
    bare = cgroup.Host(False, [mount for mount in HOST.mounts if "pids" in mount.names])
    one = cgroup.manage(bare, f"{PREFIX}/box", "cgroupfs")
    one.create({})
    processes = [program(one, "sleep", "100") for _ in range(3)]
    assert one.kill(signal.SIGKILL) >= 3
    assert [process.wait(10) for process in processes] == [-signal.SIGKILL] * 3
    one.delete()


def test_pids_limit_holds(group: Group, program: Any) -> None:
    if "unified" in group("box").paths and not has_v2("pids"):
        pytest.skip("cgroup2 has no pids controller on this host")
    one = group("box")
    one.create({"pids": {"limit": 0}})
    process = program(
        one, sys.executable, "-IS", "-c", "import os\ntry: os.fork()\nexcept OSError as e: print(e.errno)"
    )
    assert process.stdout.read() == "11\n"
    process.wait(10)
    one.delete()


# --- limits: v2 ------------------------------------------------------------------------------------------------------


def test_v2_missing_controllers(v2: Group) -> None:
    absent = [name for name in ("memory", "cpu", "pids", "cpuset") if not has_v2(name)]
    if not absent:
        pytest.skip("cgroup2 has all controllers on this host")
    for part in ({"memory": {"limit": MIB}}, {"cpu": {"cpus": "0"}}, {"unified": {"pids.max": "3"}}):
        pointer = f"{next(iter(part))}/{next(iter(next(iter(part.values()))))}"
        with pytest.raises(CgroupError, match=f"^/linux/resources/{pointer}: the .* controller is not available"):
            v2("a/box").create(part)
        assert tops() == []


def test_v2_limits(v2: Group) -> None:
    absent = [name for name in ("memory", "cpu", "pids") if not has_v2(name)]
    if absent:
        pytest.skip(f"cgroup2 has no {', '.join(absent)} controller on this host")
    one = v2("a/box")
    one.create(
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "pids": {"limit": 44},
            "unified": {"memory.high": str(48 * MIB)},
        }
    )
    expected = {
        "memory.max": 64 * MIB,
        "memory.low": 32 * MIB,
        "memory.high": 48 * MIB,
        "cpu.weight": 59,
        "pids.max": 44,
    }
    assert {file: int(value(one, file)) for file in expected} == expected
    assert value(one, "cpu.max") == "50000 100000"
    one.update({"cpu": {"period": 200000}})
    assert value(one, "cpu.max") == "50000 200000"
    one.update({"memory": {"limit": -1}})
    assert value(one, "memory.max") == "max"
    one.delete()


def test_v2_unified_core_files(v2: Group) -> None:
    one = v2("box")
    one.create({"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "4"}})
    assert (value(one, "cgroup.max.depth"), value(one, "cgroup.max.descendants")) == ("3", "4")
    one.delete()
    with pytest.raises(CgroupError, match="cgroup.nothing: the file is missing"):
        one.create({"unified": {"cgroup.nothing": "1"}})
    assert tops() == [] or there(one) == []


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
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-c", code]
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
