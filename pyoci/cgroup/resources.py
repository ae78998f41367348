# SPDX-License-Identifier: Apache-2.0
"""What ``linux.resources`` of a config.json asks for, one fact each, independent of a cgroup version. Pure.

    {"memory": {"limit": 67108864}}  ->  {"memory.limit": (67108864, "/linux/resources/memory/limit")}

limits_v1.py and limits_v2.py turn it into control files; another manager would turn it into its own properties.
As in runc and crun, 0 means "not set" where zero is of no use to the kernel, because engines write zeros for values
that their users did not set. Kernel memory limits are ignored, as the specification allows: they have no effect since
Linux 5.16.
"""

from __future__ import annotations

from pyoci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyoci.config.documents import Cpu, HugepageLimit, Memory, Resources

    # The value, and the JSON pointer of the property that asks for it.
    Setting = tuple[int | str, str]
    # By name, in the order of application: memory.limit, cpu.shares, hugetlb.2MB, unified.memory.high, ...
    Wanted = dict[str, Setting]

AT = "/linux/resources"
UNLIMITED = -1  # of memory, swap, the CPU quota and processes


def wanted(resources: Resources, page_sizes: Collection[str]) -> Wanted:
    """Returns everything that the resources ask for, except the device rules (devices.py).

    page_sizes: the sizes of the kernel's huge pages, such as 2MB. Raises SpecError.
    """
    found: Wanted = {}
    memory, cpu, pids = resources.get("memory"), resources.get("cpu"), resources.get("pids")
    if memory:
        _memory(found, memory)
    if cpu:
        _cpu(found, cpu)
    if pids and "limit" in pids:
        found["pids.limit"] = (pids["limit"], f"{AT}/pids/limit")  # 0 is a limit too (runtime-spec)
    if resources.get("hugepageLimits"):
        _hugetlb(found, resources["hugepageLimits"], page_sizes)
    if resources.get("unified"):
        _unified(found, resources["unified"])
    return found


def _memory(found: Wanted, memory: Memory) -> None:
    limit, swap = memory.get("limit"), memory.get("swap")
    rows = (
        ("limit", limit),
        ("swap", swap),
        ("reservation", memory.get("reservation")),
        ("disableOOMKiller", memory.get("disableOOMKiller")),
    )
    for name, value in rows:
        if value:
            found[f"memory.{name}"] = (value, f"{AT}/memory/{name}")
    if limit == UNLIMITED and not swap:
        # "no limit" includes swap, because the old limit of both would conflict with the new one of memory.
        found["memory.swap"] = (UNLIMITED, f"{AT}/memory/limit")
    swappiness = memory.get("swappiness", -1)
    if swappiness != -1:
        pointer = f"{AT}/memory/swappiness"
        if not 0 <= swappiness <= 100:
            raise SpecError(pointer, "out of range", swappiness, "allowed is an integer from 0 to 100")
        found["memory.swappiness"] = (swappiness, pointer)


def _cpu(found: Wanted, cpu: Cpu) -> None:
    idle = cpu.get("idle")
    if idle == 0:
        found["cpu.idle"] = (idle, f"{AT}/cpu/idle")  # before the shares, which an idle group refuses
    rows = (
        ("shares", None if idle == 1 else cpu.get("shares")),  # the kernel returns EINVAL (sched_group_set_shares)
        ("period", cpu.get("period")),
        ("quota", cpu.get("quota")),
        ("realtimePeriod", cpu.get("realtimePeriod")),
        ("realtimeRuntime", cpu.get("realtimeRuntime")),
        ("cpus", cpu.get("cpus")),
        ("mems", cpu.get("mems")),
    )
    for name, value in rows:
        if value:
            found[f"cpu.{name}"] = (value, f"{AT}/cpu/{name}")
    if "burst" in cpu:
        found["cpu.burst"] = (cpu["burst"], f"{AT}/cpu/burst")
    if idle:
        found["cpu.idle"] = (idle, f"{AT}/cpu/idle")


def _hugetlb(found: Wanted, limits: list[HugepageLimit], page_sizes: Collection[str]) -> None:
    """Adds the limits of huge pages. 0 is a limit too; a kubelet sends it for every size that a container does not
    use."""
    for index, each in enumerate(limits):
        size, limit, pointer = each["pageSize"], each["limit"], f"{AT}/hugepageLimits/{index}"
        if size in page_sizes:
            found[f"hugetlb.{size}"] = (limit, f"{pointer}/limit")
        elif limit:
            hint = f"it has {', '.join(sorted(page_sizes))}" if page_sizes else "it has no huge pages at all"
            raise SpecError(f"{pointer}/pageSize", "the kernel has no huge pages of this size", size, hint)


def _unified(found: Wanted, unified: dict[str, str]) -> None:
    for key, value in unified.items():
        if not key or "/" in key or ".." in key or not key.isprintable():
            raise SpecError(f"{AT}/unified", "not the name of a cgroup file", key)
        found[f"unified.{key}"] = (value, f"{AT}/unified/{key}")
