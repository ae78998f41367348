# SPDX-License-Identifier: Apache-2.0
"""Limits as the kernel holds them: pyoci.cgroup writes, the control files are read back."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.cgroup_room import (
    HOST,
    PREFIX,
    Group,
    either_group,
    has_v2,
    make,
    no_group_left,
    run_programs,
    there,
    tops,
    v1_group,
    v2_group,
    value,
)

from pyoci import cgroup
from pyoci.errors import CgroupError, OutOfMemory, PyociError, SpecError

__all__ = ["either_group", "no_group_left", "run_programs", "v1_group", "v2_group"]  # the fixtures

MIB = 1 << 20


def create(one: cgroup.Cgroup, resources: dict[str, Any]) -> None:
    """Both steps of a creation, and what is done when one fails."""
    plan = one.plan(resources)
    one.precreate(plan)
    try:
        one.limit(plan)
    except CgroupError:
        one.discard()
        raise


# --- limits: v1 ------------------------------------------------------------------------------------------------------


def test_v1_limits(v1: Group) -> None:
    one = v1("a/box")
    create(
        one,
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "swappiness": 7,
                       "disableOOMKiller": True, "kernel": 5 * MIB},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 2000, "cpus": "0"},
            "pids": {"limit": 44},
        },
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
    make(one)
    root = Path(HOST.controllers["cpuset"].mountpoint)
    assert value(one, "cpuset.cpus") == (root / "cpuset.cpus").read_text().strip()
    assert int(value(one, "memory.limit_in_bytes")) > 1 << 60
    one.delete()


def test_v1_memory_and_swap_in_any_order(v1: Group) -> None:
    one = v1("box")
    create(one, {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
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
    create(above, {"cpu": {"quota": 10000, "period": 100000}})
    create(one, {"cpu": {"quota": 10000, "period": 100000}})
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
    create(one, {"cpu": {"shares": 2048, "idle": 1}})
    assert value(one, "cpu.idle") == "1"
    one.update({"cpu": {"shares": 2048, "idle": 0}})
    assert (value(one, "cpu.idle"), value(one, "cpu.shares")) == ("0", "2048")
    one.delete()


def test_v1_update_touches_only_what_is_named(v1: Group) -> None:
    one = v1("box")
    create(one, {"memory": {"limit": 64 * MIB}, "pids": {"limit": 9}, "devices": [{"allow": False, "access": "rwm"}]})
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
    with pytest.raises(PyociError, match=said):
        create(v1("a/b/box"), {"pids": {"limit": 5}, **bad})
    assert tops() == []


def test_v1_undoing_spares_what_was_there(v1: Group) -> None:
    one = v1("a/box")
    make(one)
    with pytest.raises(CgroupError):
        create(v1("a/other"), {"cpu": {"quota": 1}})
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
        with pytest.raises(SpecError, match=f"^config.json: /linux/resources/{said}"):
            create(one, part)
    assert tops() == []
    with pytest.raises(CgroupError, match="the freezer controller is not mounted"):
        one.freeze()
    create(one, {"pids": {"limit": 3}})
    assert value(one, "pids.max") == "3"
    one.delete()


def test_v1_kill_without_a_freezer(v1: Group, program: Any) -> None:
    v1("box")
    bare = cgroup.Host(False, [mount for mount in HOST.mounts if "pids" in mount.names])
    one = cgroup.manage(bare, f"{PREFIX}/box", "cgroupfs")
    make(one)
    processes = [program(one, "sleep", "100") for _ in range(3)]
    assert one.kill(signal.SIGKILL) >= 3
    assert [process.wait(10) for process in processes] == [-signal.SIGKILL] * 3
    one.delete()


def test_pids_limit_holds(group: Group, program: Any) -> None:
    if list(group("box").paths) == ["unified"] and not has_v2("pids"):
        pytest.skip("cgroup2 has no pids controller on this host")
    one = group("box")
    create(one, {"pids": {"limit": 0}})
    process = program(
        one, sys.executable, "-IS", "-c", "import os\ntry: os.fork()\nexcept OSError as e: print(e.errno)"
    )
    assert process.stdout.read() == "11\n"
    process.wait(10)
    one.delete()


def test_killed_for_memory_is_counted(group: Group, program: Any) -> None:
    if list(group("box").paths) == ["unified"] and not has_v2("memory"):
        pytest.skip("cgroup2 has no memory controller on this host")
    one = group("box")
    assert one.oom_kills() == 0  # nothing is there yet
    create(one, {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})
    assert one.oom_kills() == 0
    process = program(one, sys.executable, "-IS", "-c", f"x = b'1' * {64 * MIB}")
    assert process.wait(10) == -signal.SIGKILL
    assert one.oom_kills() == 1
    one.delete()
    assert one.oom_kills() == 0


def test_v1_limit_below_what_is_used_is_out_of_memory(v1: Group, program: Any) -> None:
    one = v1("box")
    make(one)
    process = program(one, sys.executable, "-IS", "-c", f"x = b'1' * {16 * MIB}; print(flush=True); input()")
    assert process.stdout.read(1) == "\n"
    with pytest.raises(OutOfMemory, match="its processes use more already, .*/memory/limit asks for 4096"):
        one.update({"memory": {"limit": 4096}})
    one.delete(kill=True)


# --- limits: v2 ------------------------------------------------------------------------------------------------------


def test_v2_missing_controllers(v2: Group) -> None:
    absent = [name for name in ("memory", "cpu", "pids", "cpuset") if not has_v2(name)]
    if not absent:
        pytest.skip("cgroup2 has all controllers on this host")
    for part in ({"memory": {"limit": MIB}}, {"cpu": {"cpus": "0"}}, {"unified": {"pids.max": "3"}}):
        pointer = f"{next(iter(part))}/{next(iter(next(iter(part.values()))))}"
        with pytest.raises(
            SpecError, match=f"^config.json: /linux/resources/{pointer}: the .* controller is not available"
        ):
            create(v2("a/box"), part)
        assert tops() == []


def test_v2_limits(v2: Group) -> None:
    absent = [name for name in ("memory", "cpu", "pids") if not has_v2(name)]
    if absent:
        pytest.skip(f"cgroup2 has no {', '.join(absent)} controller on this host")
    one = v2("a/box")
    create(
        one,
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "pids": {"limit": 44},
            "unified": {"memory.high": str(48 * MIB)},
        },
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


def test_v2_hands_controllers_down(v2: Group) -> None:
    """With hugetlb, which stays with cgroup2 even where all other controllers are v1."""
    if not has_v2("hugetlb"):
        pytest.skip("cgroup2 has no hugetlb controller on this host")
    root = Path(v2("").paths["unified"]).parent / "cgroup.subtree_control"
    before = root.read_text()
    one = v2("a/box")
    try:
        create(one, {"unified": {"hugetlb.2MB.max": str(4 * MIB)}})
        assert int(value(one, "hugetlb.2MB.max")) == 4 * MIB
        one.update({"unified": {"hugetlb.2MB.max": "max"}})
        assert value(one, "hugetlb.2MB.max") != str(4 * MIB)
        with pytest.raises(CgroupError, match=r"/linux/resources/unified/hugetlb.2MB.max asks for many"):
            one.update({"unified": {"hugetlb.2MB.max": "many"}})
        one.delete()
    finally:
        one.delete()
        if "hugetlb" not in before:
            parent = Path(one.paths["unified"]).parent  # controllers are taken back from below
            for directory in (parent, parent.parent):
                (directory / "cgroup.subtree_control").write_text("-hugetlb")
            root.write_text("-hugetlb")
    assert root.read_text() == before


def test_v2_unified_core_files(v2: Group) -> None:
    one = v2("box")
    create(one, {"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "4"}})
    assert (value(one, "cgroup.max.depth"), value(one, "cgroup.max.descendants")) == ("3", "4")
    one.delete()
    with pytest.raises(CgroupError, match="cgroup.nothing: the file is missing"):
        create(one, {"unified": {"cgroup.nothing": "1"}})
    assert tops() == [] or there(one) == []
