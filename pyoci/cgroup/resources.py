# SPDX-License-Identifier: Apache-2.0
"""From ``linux.resources`` of a config.json to files and values. Pure functions.

0 stands for "not set" where the kernel has no use for a zero, as in runc and crun: engines write zeros for what
their users left out. Kernel memory limits are ignored, as the specification allows: Linux has no effect for them
any more (5.16 and later).
"""

from __future__ import annotations

from pyoci.errors import CgroupError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyoci.cgroup.files import Setting
    from pyoci.config.documents import Cpu, Memory, Resources

_AT = "/linux/resources"
_NOT_YET = ("blockIO", "hugepageLimits", "network", "rdma")


def settings_v1(resources: Resources) -> list[Setting]:
    """The v1 control files to write, in order. Raises CgroupError and UnsupportedError."""
    refuse_unsupported(resources)
    if resources.get("unified"):
        raise CgroupError(f"{_AT}/unified: needs cgroup v2, and this host has v1")
    return [*_memory_v1(resources.get("memory") or {}), *_cpu_v1(resources.get("cpu") or {}), *_pids(resources)]


def settings_v2(resources: Resources, quota: str = "max") -> list[Setting]:
    """The v2 control files to write, in order, the ``unified`` ones last.

    quota: the first word of cpu.max now, kept when only a period is given. Raises CgroupError and UnsupportedError.
    """
    refuse_unsupported(resources)
    return [
        *_memory_v2(resources.get("memory") or {}),
        *_cpu_v2(resources.get("cpu") or {}, quota),
        *_pids(resources),
        *_unified(resources.get("unified") or {}),
    ]


def refuse_unsupported(resources: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for a resource that would otherwise be skipped in silence."""
    for name in _NOT_YET:
        if _asks(resources.get(name)):
            raise UnsupportedError(f"{_AT}/{name}", "not supported yet", resources[name])


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for v1 cpu.shares (2 to 262144).

    The formula that runc (from 1.4) and crun (from 1.23) agree on, log10(weight) = (L² + 125 L) / 612 - 7 / 34 with
    L = log2(shares): it takes both ends to both ends and the default 1024 to the default 100. The straight line
    between the ends, used before, took 1024 to 39, so that a container with default shares lost against its siblings.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    exponent = (log2(shares) ** 2 + 125 * log2(shares)) / 612 - 7 / 34
    return ceil(10**exponent)


def swap_max(memory: Memory) -> str:
    """memory.swap.max for a limit and a memory-plus-swap limit; "" to leave it alone. Raises CgroupError."""
    limit, both = memory.get("limit") or 0, memory.get("swap") or 0
    if both == 0:
        return "max" if limit == -1 else ""
    if both == -1:
        return "max"
    if limit == -1:
        return str(both)
    if limit == 0:
        raise CgroupError(f"{_AT}/memory/swap: is memory plus swap, so memory.limit has to be given as well")
    if both < limit:
        raise CgroupError(f"{_AT}/memory/swap: {both} is less than memory.limit {limit}; it is memory plus swap")
    return str(both - limit)


def _memory_v1(memory: Memory) -> list[Setting]:
    found: list[Setting] = []

    def put(file: str, value: object, name: str) -> None:
        found.append(("memory", f"memory.{file}", str(value), f"{_AT}/memory/{name}"))

    limit, both = memory.get("limit") or 0, memory.get("swap") or 0
    if limit == -1 and both == 0:
        both = -1  # "no limit" means swap as well, or the old one for both would refuse the new one for memory
    if limit:
        put("limit_in_bytes", limit, "limit")
    if both:
        put("memsw.limit_in_bytes", both, "swap")
    if memory.get("reservation"):
        put("soft_limit_in_bytes", memory["reservation"], "reservation")
    if memory.get("disableOOMKiller"):
        put("oom_control", 1, "disableOOMKiller")
    swappiness = memory.get("swappiness", -1)
    if swappiness != -1:
        _check_swappiness(swappiness)
        put("swappiness", swappiness, "swappiness")
    return found


def _memory_v2(memory: Memory) -> list[Setting]:
    found: list[Setting] = []
    if memory.get("disableOOMKiller"):
        raise CgroupError(f"{_AT}/memory/disableOOMKiller: cgroup v2 cannot switch the OOM killer off")
    if memory.get("swappiness", -1) != -1:
        raise CgroupError(f"{_AT}/memory/swappiness: cgroup v2 has no swappiness of a group")
    swap = swap_max(memory)
    if swap:
        found.append(("memory", "memory.swap.max", swap, f"{_AT}/memory/swap"))
    if memory.get("limit"):
        found.append(("memory", "memory.max", _bytes(memory["limit"]), f"{_AT}/memory/limit"))
    if memory.get("reservation"):
        found.append(("memory", "memory.low", _bytes(memory["reservation"]), f"{_AT}/memory/reservation"))
    return found


def _cpu_v1(cpu: Mapping[str, Any]) -> list[Setting]:
    rows = (
        ("cpu", "cpu.idle", "idle", cpu.get("idle") == 0),
        # An idle group has no shares: the kernel answers EINVAL (sched_group_set_shares).
        ("cpu", "cpu.shares", "shares", cpu.get("idle") != 1 and bool(cpu.get("shares"))),
        ("cpu", "cpu.cfs_period_us", "period", bool(cpu.get("period"))),
        ("cpu", "cpu.cfs_quota_us", "quota", bool(cpu.get("quota"))),
        ("cpu", "cpu.cfs_burst_us", "burst", "burst" in cpu),
        ("cpu", "cpu.rt_period_us", "realtimePeriod", bool(cpu.get("realtimePeriod"))),
        ("cpu", "cpu.rt_runtime_us", "realtimeRuntime", bool(cpu.get("realtimeRuntime"))),
        ("cpu", "cpu.idle", "idle", bool(cpu.get("idle"))),
        ("cpuset", "cpuset.cpus", "cpus", bool(cpu.get("cpus"))),
        ("cpuset", "cpuset.mems", "mems", bool(cpu.get("mems"))),
    )
    return [(group, file, str(cpu[name]), f"{_AT}/cpu/{name}") for group, file, name, wanted in rows if wanted]


def _cpu_v2(cpu: Cpu, quota: str) -> list[Setting]:
    for name in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(name):
            raise CgroupError(f"{_AT}/cpu/{name}: cgroup v2 has no realtime limits")
    found: list[Setting] = []

    def put(file: str, value: object, name: str) -> None:
        found.append((file.partition(".")[0], file, str(value), f"{_AT}/cpu/{name}"))

    if cpu.get("idle") == 0:
        put("cpu.idle", 0, "idle")
    if cpu.get("shares") and cpu.get("idle") != 1:
        put("cpu.weight", weight(cpu["shares"]), "shares")
    if cpu.get("quota") or cpu.get("period"):
        if cpu.get("quota"):
            quota = str(cpu["quota"]) if cpu["quota"] > 0 else "max"
        # Without a period the kernel keeps the one that stands there (cgroup-v2.rst, cpu.max).
        period = f" {cpu['period']}" if cpu.get("period") else ""
        put("cpu.max", quota + period, "quota" if cpu.get("quota") else "period")
    if "burst" in cpu:
        put("cpu.max.burst", cpu["burst"], "burst")
    if cpu.get("idle"):
        put("cpu.idle", cpu["idle"], "idle")
    if cpu.get("cpus"):
        put("cpuset.cpus", cpu["cpus"], "cpus")
    if cpu.get("mems"):
        put("cpuset.mems", cpu["mems"], "mems")
    return found


def _pids(resources: Resources) -> list[Setting]:
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None:
        return []
    # 0 is a limit of its own (runtime-spec), but clone3 into a v2 group of 0 fails for the first process already.
    # That one is in place with 1, and no other can be: the same for whoever is inside.
    value = "max" if limit < 0 else str(max(limit, 1))
    return [("pids", "pids.max", value, f"{_AT}/pids/limit")]


def _unified(unified: dict[str, str]) -> list[Setting]:
    found: list[Setting] = []
    for key, value in unified.items():
        if not key or "/" in key or ".." in key or not key.isprintable():
            raise CgroupError(f"{_AT}/unified: {key!r} is not the name of a cgroup file")
        pointer = f"{_AT}/unified/{key}"
        # io.max and its kin take one device a write, and the specification puts several into one value.
        for line in value.split("\n") if value else [""]:
            found.append((key.partition(".")[0], key, line, pointer))
    return found


def _check_swappiness(value: int) -> None:
    if not 0 <= value <= 100:
        raise CgroupError(f"{_AT}/memory/swappiness: {value} is not in 0 to 100")


def _bytes(value: int) -> str:
    return "max" if value == -1 else str(value)


def _asks(value: object) -> bool:
    """Whether a resource object asks for anything: engines write ``{"weight": 0}`` and empty lists for nothing."""
    if isinstance(value, dict):
        return any(_asks(part) for part in value.values())
    return bool(value)
