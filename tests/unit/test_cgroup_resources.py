# SPDX-License-Identifier: Apache-2.0
"""From linux.resources to what is wanted, and from there to files and values."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroup import limits_v1, limits_v2, resources
from pyoci.errors import SpecError

LIMIT, MEMSW = "limit_in_bytes", "memsw.limit_in_bytes"
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "hugetlb", "io")
EVERYTHING: dict[str, Any] = {
    "memory": {"limit": 100, "swap": 300, "reservation": 50, "kernel": 7, "kernelTCP": 8, "useHierarchy": True},
    "cpu": {"shares": 512, "quota": 1000, "period": 2000, "burst": 10, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 5},
}


def wanted(given: Any) -> resources.Wanted:
    return resources.wanted(given, ("2MB",))


def writes_v1(given: Any, controllers: Any = CONTROLLERS) -> list[tuple[str, str, str, str]]:
    return limits_v1.writes(wanted(given), controllers)


def writes_v2(given: Any, controllers: Any = CONTROLLERS, quota: str = "max") -> list[tuple[str, str, str, str]]:
    return limits_v2.writes(wanted(given), controllers, quota)


def pairs(found: list[tuple[str, str, str, str]]) -> list[tuple[str, str]]:
    for group, file, _, pointer in found:
        assert file.startswith(f"{group}."), file
        assert pointer.startswith("/linux/resources/")
    return [(file, value) for _, file, value, _ in found]


def test_what_is_wanted_names_no_file() -> None:
    assert list(wanted({**EVERYTHING, "unified": {"memory.high": "1"}}).items()) == [
        ("memory.limit", (100, "/linux/resources/memory/limit")),
        ("memory.swap", (300, "/linux/resources/memory/swap")),
        ("memory.reservation", (50, "/linux/resources/memory/reservation")),
        ("cpu.shares", (512, "/linux/resources/cpu/shares")),
        ("cpu.period", (2000, "/linux/resources/cpu/period")),
        ("cpu.quota", (1000, "/linux/resources/cpu/quota")),
        ("cpu.cpus", ("0-1", "/linux/resources/cpu/cpus")),
        ("cpu.mems", ("0", "/linux/resources/cpu/mems")),
        ("cpu.burst", (10, "/linux/resources/cpu/burst")),
        ("pids.limit", (5, "/linux/resources/pids/limit")),
        ("unified.memory.high", ("1", "/linux/resources/unified/memory.high")),
    ]


def test_v1() -> None:
    assert pairs(writes_v1(EVERYTHING)) == [
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "300"),
        ("memory.soft_limit_in_bytes", "50"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "2000"),
        ("cpu.cfs_quota_us", "1000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("cpu.cfs_burst_us", "10"),
        ("pids.max", "5"),
    ]


def test_v2() -> None:
    assert pairs(writes_v2(EVERYTHING)) == [
        ("memory.max", "100"),
        ("memory.swap.max", "200"),
        ("memory.low", "50"),
        ("cpu.weight", "59"),
        ("cpu.max", "1000 2000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("cpu.max.burst", "10"),
        ("pids.max", "5"),
    ]


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"memory": {}, "cpu": {}, "pids": {}},
        {"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False, "swappiness": -1}},
        {"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "", "realtimeRuntime": 0}},
        {"hugepageLimits": [], "unified": {}},
    ],
)
def test_nothing_asked_is_nothing_written(empty: dict[str, Any]) -> None:
    assert writes_v1(empty) == []
    assert writes_v2(empty) == []


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
    assert dict(pairs(writes_v1({"memory": memory}))) == {f"memory.{k}": v for k, v in v1.items()}
    assert dict(pairs(writes_v2({"memory": memory}))) == {f"memory.{k}": v for k, v in v2.items()}


def test_memory_of_v1_alone() -> None:
    found = pairs(writes_v1({"memory": {"swappiness": 0, "disableOOMKiller": True}}))
    assert found == [("memory.oom_control", "1"), ("memory.swappiness", "0")]


@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (0, "1"), (1, "1"), (70, "70")])
def test_pids(limit: int, value: str) -> None:
    assert pairs(writes_v1({"pids": {"limit": limit}})) == [("pids.max", value)]
    assert pairs(writes_v2({"pids": {"limit": limit}})) == [("pids.max", value)]


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
    assert pairs(writes_v2({"cpu": cpu}, quota="now")) == [("cpu.max", value)]


@pytest.mark.parametrize("writes", [writes_v1, writes_v2])
def test_idle_goes_first_when_off_and_stands_for_shares_when_on(writes: Any) -> None:
    off = [file for file, _ in pairs(writes({"cpu": {"idle": 0, "shares": 2}}))]
    assert off[0] == "cpu.idle"
    assert len(off) == 2
    assert pairs(writes({"cpu": {"idle": 1, "shares": 2}})) == [("cpu.idle", "1")]


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (2**40, 10000)],
)
def test_weight(shares: int, weight: int) -> None:
    assert limits_v2.weight(shares) == weight


def test_weight_grows_with_shares() -> None:
    weights = [limits_v2.weight(shares) for shares in range(2, 262145, 61)]
    assert weights == sorted(weights)


def test_unified() -> None:
    found = writes_v2({"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2", "memory.high": "7"}})
    assert pairs(found) == [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("memory.high", "7")]


@pytest.mark.parametrize("key", ["../x", "a/b", "/x", "", "..", "memory.max\n", "x\0y"])
def test_unified_keys_are_names_of_files(key: str) -> None:
    with pytest.raises(SpecError, match="^config.json: /linux/resources/unified: not the name of a cgroup file"):
        writes_v2({"unified": {key: "1"}})


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
    with pytest.raises(SpecError, match=f"^config.json: /linux/resources/{pointer}: "):
        writes_v2(part)


def test_what_v1_has_not_is_refused() -> None:
    with pytest.raises(SpecError, match="^config.json: /linux/resources/unified: needs cgroup v2"):
        writes_v1({"unified": {"memory.high": "1"}})
    with pytest.raises(SpecError, match="^config.json: /linux/resources/memory/swappiness: out of range .it is 101"):
        writes_v1({"memory": {"swappiness": 101}})


@pytest.mark.parametrize("writes", [writes_v1, writes_v2])
@pytest.mark.parametrize(
    ("part", "pointer", "controller"),
    [
        ({"memory": {"limit": 5}}, "memory/limit", "memory"),
        ({"cpu": {"quota": 5000}}, "cpu/quota", "cpu"),
        ({"cpu": {"cpus": "0"}}, "cpu/cpus", "cpuset"),
        ({"pids": {"limit": -1}}, "pids/limit", "pids"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "hugepageLimits/0/limit", "hugetlb"),
    ],
)
def test_a_controller_that_the_host_lacks(writes: Any, part: dict[str, Any], pointer: str, controller: str) -> None:
    with pytest.raises(SpecError, match=f"^config.json: /linux/resources/{pointer}: the {controller} controller"):
        writes(part, [name for name in CONTROLLERS if name != controller])


def test_limits_of_huge_pages() -> None:
    """0 is a limit: a kubelet sends it for each size of which a container asks nothing."""
    limits = [{"pageSize": "2MB", "limit": 0}, {"pageSize": "2MB", "limit": 4 << 20}]
    for limit in limits:
        value = str(limit["limit"])
        assert pairs(writes_v1({"hugepageLimits": [limit]})) == [
            ("hugetlb.2MB.limit_in_bytes", value),
            ("hugetlb.2MB.rsvd.limit_in_bytes", value),
        ]
        assert pairs(writes_v2({"hugepageLimits": [limit]})) == [
            ("hugetlb.2MB.max", value),
            ("hugetlb.2MB.rsvd.max", value),
        ]


@pytest.mark.parametrize("writes", [writes_v1, writes_v2])
def test_no_huge_pages_of_a_host_that_has_none(writes: Any) -> None:
    assert writes({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, ("cpu",)) == []
    assert writes({"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]}) == []
    with pytest.raises(SpecError, match="/hugepageLimits/0/pageSize: the kernel has no huge pages of .* 2MB$"):
        writes({"hugepageLimits": [{"pageSize": "1GB", "limit": 1}]})
