# SPDX-License-Identifier: Apache-2.0
"""Turns what is wanted of a cgroup into control files of version 1 (Documentation/admin-guide/cgroup-v1). Pure."""

from __future__ import annotations

from pyoci.cgroup.resources import AT, UNLIMITED
from pyoci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyoci.cgroup.files import Write
    from pyoci.cgroup.resources import Wanted

_FILES = {
    "memory.limit": ("memory", "memory.limit_in_bytes"),
    "memory.swap": ("memory", "memory.memsw.limit_in_bytes"),
    "memory.reservation": ("memory", "memory.soft_limit_in_bytes"),
    "memory.disableOOMKiller": ("memory", "memory.oom_control"),
    "memory.swappiness": ("memory", "memory.swappiness"),
    "cpu.idle": ("cpu", "cpu.idle"),
    "cpu.shares": ("cpu", "cpu.shares"),
    "cpu.period": ("cpu", "cpu.cfs_period_us"),
    "cpu.quota": ("cpu", "cpu.cfs_quota_us"),
    "cpu.burst": ("cpu", "cpu.cfs_burst_us"),
    "cpu.realtimePeriod": ("cpu", "cpu.rt_period_us"),
    "cpu.realtimeRuntime": ("cpu", "cpu.rt_runtime_us"),
    "cpu.cpus": ("cpuset", "cpuset.cpus"),
    "cpu.mems": ("cpuset", "cpuset.mems"),
    "pids.limit": ("pids", "pids.max"),
}
_HUGETLB = ("limit_in_bytes", "rsvd.limit_in_bytes")


def writes(wanted: Wanted, controllers: Collection[str]) -> list[Write]:
    """Returns the files to write, in order. controllers: those that are mounted. Raises SpecError."""
    found: list[Write] = []
    for name, (value, pointer) in wanted.items():
        if name.startswith("unified."):
            raise SpecError(f"{AT}/unified", "needs cgroup v2, and this host has v1")
        if name.startswith("hugetlb."):
            if not value and "hugetlb" not in controllers:
                continue  # a limit of 0, and no controller: nothing to do
            controller, files = "hugetlb", [f"{name}.{limit}" for limit in _HUGETLB]
        else:
            controller, file = _FILES[name]
            files = [file]
        if controller not in controllers:
            raise SpecError(pointer, f"the {controller} controller is not mounted on this host", value)
        text = _value(name, value)
        found += [(controller, file, text, pointer) for file in files]
    return found


def _value(name: str, value: int | str) -> str:
    if name == "pids.limit":
        # 0 is a valid limit (runtime-spec), but no process could enter a v2 group with it. With 1, init is inside and
        # no other process can be, which is the same for the container. v1 does the same.
        return "max" if value == UNLIMITED else str(value or 1)
    return "1" if value is True else str(value)
