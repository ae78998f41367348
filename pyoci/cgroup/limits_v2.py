# SPDX-License-Identifier: Apache-2.0
"""Turns what is wanted of a cgroup into control files of version 2 (Documentation/admin-guide/cgroup-v2.rst). Pure."""

from __future__ import annotations

from pyoci.cgroup.resources import UNLIMITED
from pyoci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyoci.cgroup.files import Write
    from pyoci.cgroup.resources import Wanted

_FILES = {
    "memory.swap": "memory.swap.max",
    "memory.limit": "memory.max",
    "memory.reservation": "memory.low",
    "cpu.idle": "cpu.idle",
    "cpu.shares": "cpu.weight",
    "cpu.quota": "cpu.max",
    "cpu.period": "cpu.max",
    "cpu.burst": "cpu.max.burst",
    "cpu.cpus": "cpuset.cpus",
    "cpu.mems": "cpuset.mems",
    "pids.limit": "pids.max",
}
_NOT_IN_V2 = {
    "memory.disableOOMKiller": "cgroup v2 cannot switch the OOM killer off",
    "memory.swappiness": "cgroup v2 has no swappiness of a group",
    "cpu.realtimePeriod": "cgroup v2 has no realtime limits",
    "cpu.realtimeRuntime": "cgroup v2 has no realtime limits",
}
_HUGETLB = ("max", "rsvd.max")


def writes(wanted: Wanted, controllers: Collection[str], quota: str = "max") -> list[Write]:
    """Returns the files to write, in order, those of ``unified`` last.

    controllers: those that cgroup2 has on this host; quota: the current first word of cpu.max, which stays if only a
    period is given. Raises SpecError.
    """
    found: list[Write] = []
    for name, (value, pointer) in wanted.items():
        if name in _NOT_IN_V2:
            raise SpecError(pointer, _NOT_IN_V2[name], value)
        if name == "cpu.period" and "cpu.quota" in wanted:
            continue  # one file for both
        if name.startswith("unified."):
            lines = _unified(name[len("unified.") :], str(value))
        elif name.startswith("hugetlb."):
            if not value and "hugetlb" not in controllers:
                continue  # a limit of 0, and no controller: nothing to do
            lines = [(f"{name}.{limit}", str(value)) for limit in _HUGETLB]
        else:
            lines = [(_FILES[name], _value(name, wanted, quota))]
        controller = lines[0][0].partition(".")[0]
        if controller not in controllers and controller != "cgroup":
            raise SpecError(pointer, f"the {controller} controller is not available in cgroup v2 on this host", value)
        found += [(controller, file, text, pointer) for file, text in lines]
    return found


def weight(shares: int) -> int:
    """Returns the cpu.weight (1 to 10000) for v1 cpu.shares (2 to 262144).

    runc (from 1.4) and crun (from 1.23) use the same formula, log10(weight) = (L² + 125 L) / 612 - 7 / 34 with
    L = log2(shares). It maps both ends to both ends and the default 1024 to the default 100. The earlier straight line
    between the ends mapped 1024 to 39, which put containers with default shares at a disadvantage.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    exponent = (log2(shares) ** 2 + 125 * log2(shares)) / 612 - 7 / 34
    return ceil(10**exponent)


def _value(name: str, wanted: Wanted, quota: str) -> str:
    value = wanted[name][0]
    if name == "memory.swap":
        return _swap(wanted)
    if name == "cpu.shares":
        return str(weight(int(value)))
    if name in ("cpu.quota", "cpu.period"):
        return _cpu_max(wanted, quota)
    if name in ("memory.limit", "memory.reservation", "pids.limit"):
        if value == UNLIMITED:
            return "max"
        # No process could enter a group with a limit of 0. With 1, init is inside and no other process can be, which is
        # the same for the container.
        return str(value or 1)
    return str(value)


def _swap(wanted: Wanted) -> str:
    """Returns memory.swap.max, which is swap alone. The property is memory plus swap. Raises SpecError."""
    both, pointer = wanted["memory.swap"]
    limit = wanted.get("memory.limit", (0, ""))[0]
    if both == UNLIMITED:
        return "max"
    if limit == UNLIMITED:
        return str(both)
    if not limit:
        raise SpecError(pointer, "memory.limit has to be given as well", both, "this is memory plus swap")
    if int(both) < int(limit):
        raise SpecError(pointer, f"less than memory.limit, {limit}", both, "this is memory plus swap")
    return str(int(both) - int(limit))


def _cpu_max(wanted: Wanted, quota: str) -> str:
    if "cpu.quota" in wanted:
        value = int(wanted["cpu.quota"][0])
        quota = str(value) if value > 0 else "max"
    # Without a period the kernel keeps the current one (cgroup-v2.rst, cpu.max).
    return f"{quota} {wanted['cpu.period'][0]}" if "cpu.period" in wanted else quota


def _unified(file: str, value: str) -> list[tuple[str, str]]:
    # io.max and similar files take one device per write, but the specification puts several into one value.
    return [(file, line) for line in (value.split("\n") if value else [""])]
