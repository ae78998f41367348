# SPDX-License-Identifier: Apache-2.0
"""From linux.resources to files and values."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroup import resources
from pyoci.errors import CgroupError, UnsupportedError

LIMIT, MEMSW = "limit_in_bytes", "memsw.limit_in_bytes"
EVERYTHING: dict[str, Any] = {
    "memory": {"limit": 100, "swap": 300, "reservation": 50, "kernel": 7, "kernelTCP": 8, "useHierarchy": True},
    "cpu": {"shares": 512, "quota": 1000, "period": 2000, "burst": 10, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 5},
}


def pairs(found: list[tuple[str, str, str, str]]) -> list[tuple[str, str]]:
    for group, file, _, pointer in found:
        assert file.startswith(f"{group}."), file
        assert pointer.startswith("/linux/resources/")
    return [(file, value) for _, file, value, _ in found]


def test_v1() -> None:
    assert pairs(resources.settings_v1(EVERYTHING)) == [
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "300"),
        ("memory.soft_limit_in_bytes", "50"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "2000"),
        ("cpu.cfs_quota_us", "1000"),
        ("cpu.cfs_burst_us", "10"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "5"),
    ]


def test_v2() -> None:
    assert pairs(resources.settings_v2(EVERYTHING)) == [
        ("memory.swap.max", "200"),
        ("memory.max", "100"),
        ("memory.low", "50"),
        ("cpu.weight", "59"),
        ("cpu.max", "1000 2000"),
        ("cpu.max.burst", "10"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "5"),
    ]


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"memory": {}, "cpu": {}, "pids": {}},
        {"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False, "swappiness": -1}},
        {"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "", "realtimeRuntime": 0}},
        {"blockIO": {"weight": 0}, "hugepageLimits": [], "network": {}, "rdma": {}, "unified": {}},
    ],
)
def test_nothing_asked_is_nothing_written(empty: dict[str, Any]) -> None:
    assert resources.settings_v1(empty) == []
    assert resources.settings_v2(empty) == []


@pytest.mark.parametrize(
    ("memory", "v1", "v2"),
    [
        ({"limit": -1}, {LIMIT: "-1", MEMSW: "-1"}, {"swap.max": "max", "max": "max"}),
        ({"limit": 10, "swap": -1}, {LIMIT: "10", MEMSW: "-1"}, {"swap.max": "max", "max": "10"}),
        ({"limit": 10, "swap": 10}, {LIMIT: "10", MEMSW: "10"}, {"swap.max": "0", "max": "10"}),
        ({"limit": -1, "swap": 10}, {LIMIT: "-1", MEMSW: "10"}, {"swap.max": "10", "max": "max"}),
        ({"reservation": -1}, {"soft_limit_in_bytes": "-1"}, {"low": "max"}),
    ],
)
def test_memory(memory: dict[str, int], v1: dict[str, str], v2: dict[str, str]) -> None:
    assert dict(pairs(resources.settings_v1({"memory": memory}))) == {f"memory.{k}": v for k, v in v1.items()}
    assert dict(pairs(resources.settings_v2({"memory": memory}))) == {f"memory.{k}": v for k, v in v2.items()}


def test_memory_of_v1_alone() -> None:
    found = pairs(resources.settings_v1({"memory": {"swappiness": 0, "disableOOMKiller": True}}))
    assert found == [("memory.oom_control", "1"), ("memory.swappiness", "0")]


@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (0, "1"), (1, "1"), (70, "70")])
def test_pids(limit: int, value: str) -> None:
    assert pairs(resources.settings_v1({"pids": {"limit": limit}})) == [("pids.max", value)]
    assert pairs(resources.settings_v2({"pids": {"limit": limit}})) == [("pids.max", value)]


@pytest.mark.parametrize(
    ("cpu", "value"),
    [
        ({"quota": 5000}, "5000"),
        ({"quota": -1}, "max"),
        ({"period": 20000}, "now 20000"),
        ({"quota": -1, "period": 20000}, "max 20000"),
    ],
)
def test_cpu_max(cpu: dict[str, int], value: str) -> None:
    assert pairs(resources.settings_v2({"cpu": cpu}, quota="now")) == [("cpu.max", value)]


@pytest.mark.parametrize("settings", [resources.settings_v1, resources.settings_v2])
def test_idle_goes_first_when_off_and_stands_for_shares_when_on(settings: Any) -> None:
    off = [file for file, _ in pairs(settings({"cpu": {"idle": 0, "shares": 2}}))]
    assert off[0] == "cpu.idle"
    assert len(off) == 2
    assert pairs(settings({"cpu": {"idle": 1, "shares": 2}})) == [("cpu.idle", "1")]


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (2**40, 10000)],
)
def test_weight(shares: int, weight: int) -> None:
    assert resources.weight(shares) == weight


def test_weight_grows_with_shares() -> None:
    weights = [resources.weight(shares) for shares in range(2, 262145, 61)]
    assert weights == sorted(weights)


def test_unified() -> None:
    found = resources.settings_v2({"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2", "memory.high": "7"}})
    assert pairs(found) == [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("memory.high", "7")]


@pytest.mark.parametrize("key", ["../x", "a/b", "/x", "", "..", "memory.max\n", "x\0y"])
def test_unified_keys_are_names_of_files(key: str) -> None:
    with pytest.raises(CgroupError, match="^/linux/resources/unified: .* is not the name of a cgroup file$"):
        resources.settings_v2({"unified": {key: "1"}})


@pytest.mark.parametrize(
    ("part", "pointer"),
    [
        ({"memory": {"swap": 10}}, "memory/swap"),
        ({"memory": {"swap": 10, "limit": 20}}, "memory/swap"),
        ({"memory": {"swappiness": 5}}, "memory/swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory/disableOOMKiller"),
        ({"cpu": {"realtimeRuntime": 5}}, "cpu/realtimeRuntime"),
        ({"cpu": {"realtimePeriod": 5}}, "cpu/realtimePeriod"),
    ],
)
def test_what_v2_has_not_is_refused(part: dict[str, Any], pointer: str) -> None:
    with pytest.raises(CgroupError, match=f"^/linux/resources/{pointer}: "):
        resources.settings_v2(part)


def test_what_v1_has_not_is_refused() -> None:
    with pytest.raises(CgroupError, match="^/linux/resources/unified: needs cgroup v2"):
        resources.settings_v1({"unified": {"memory.high": "1"}})
    with pytest.raises(CgroupError, match="^/linux/resources/memory/swappiness: 101"):
        resources.settings_v1({"memory": {"swappiness": 101}})


@pytest.mark.parametrize(
    "part",
    [
        {"blockIO": {"weight": 10}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}},
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]},
        {"network": {"classID": 1}},
        {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
    ],
)
def test_what_is_not_built_is_refused_by_name(part: dict[str, Any]) -> None:
    for settings in (resources.settings_v1, resources.settings_v2):
        with pytest.raises(UnsupportedError, match=f"/linux/resources/{next(iter(part))}: not supported yet"):
            settings(part)
