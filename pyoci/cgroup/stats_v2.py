# SPDX-License-Identifier: Apache-2.0
"""Statistics of a control group of version 2 (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from pyoci.cgroup import stats
from pyoci.cgroup.hierarchies import page_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.stats import Row, Stats

_MICRO = 1000  # nanoseconds
# A word of io.stat: runc's table, and the operation in it.
_TABLES = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def read(directory: str) -> Stats:
    """Returns the statistics. Raises CgroupError."""
    return stats.whole(
        {**_cpu(directory), "psi": stats.pressure(f"{directory}/cpu.pressure")},
        {
            "cpus": stats.cpus(f"{directory}/cpuset.cpus.effective"),
            "mems": stats.cpus(f"{directory}/cpuset.mems.effective"),
        },
        {**_memory(directory), "psi": stats.pressure(f"{directory}/memory.pressure")},
        _pids(directory),
        [*_io(directory).items(), ("psi", stats.pressure(f"{directory}/io.pressure"))],
        _hugetlb(directory),
    )


def _cpu(directory: str) -> Stats:
    found = stats.numbers(f"{directory}/cpu.stat")
    usage = {
        "total": found.get("usage_usec", 0) * _MICRO,
        "kernel": found.get("system_usec", 0) * _MICRO,
        "user": found.get("user_usec", 0) * _MICRO,
    }
    throttling = {
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get("throttled_usec", 0) * _MICRO,
    }
    return {"usage": usage, "throttling": throttling}


def _memory(directory: str) -> Stats:
    """Returns the part of memory. As in v1, swap is memory and swap together; its peak is not known then."""
    if stats.text_of(f"{directory}/memory.current") is None:
        return {}
    raw = stats.numbers(f"{directory}/memory.stat")
    events = stats.numbers(f"{directory}/memory.events")
    usage, limit = stats.number(f"{directory}/memory.current"), stats.number(f"{directory}/memory.max")
    found: Stats = {
        "cache": raw.get("file", 0),
        # memory.peak is there since Linux 5.19.
        "usage": stats.memory(usage, limit, stats.number(f"{directory}/memory.peak"), events.get("max", 0)),
    }
    swap = stats.number(f"{directory}/memory.swap.max", stats.LARGEST)
    both = stats.LARGEST if stats.LARGEST in (swap, limit) else swap + limit
    found["swap"] = stats.memory(usage + stats.number(f"{directory}/memory.swap.current"), both)
    found["kernel"] = stats.memory(raw.get("kernel", 0), stats.LARGEST)
    found["kernelTCP"] = stats.memory(raw.get("sock", 0), stats.LARGEST)
    return {**found, "raw": raw}


def _pids(directory: str) -> Stats:
    current = stats.number(f"{directory}/pids.current", -1)
    if current < 0:
        # Without the controller, the processes of the group itself are counted.
        return {"current": len((stats.text_of(f"{directory}/cgroup.procs") or "").split()), "limit": 0}
    limit = stats.number(f"{directory}/pids.max")
    return {"current": current, "limit": 0 if limit == stats.LARGEST else limit}


def _io(directory: str) -> dict[str, object]:
    tables: dict[str, list[Row]] = {name: [] for name, _ in _TABLES.values()}
    for line in (stats.text_of(f"{directory}/io.stat") or "").splitlines():
        device, *pairs = line.split()
        for word, _, value in (pair.partition("=") for pair in pairs):
            if word in _TABLES:
                table, operation = _TABLES[word]
                row = stats.row(device, operation, value)
                tables[table] += [row] if row else []
    return {**tables}


def _hugetlb(directory: str) -> Stats:
    found: Stats = {}
    for size in page_sizes():
        at = f"{directory}/hugetlb.{size}"
        usage = stats.number(f"{at}.rsvd.current", stats.number(f"{at}.current", -1))
        if usage >= 0:
            failures = stats.numbers(f"{at}.events").get("max", 0)
            found[size] = {"usage": usage, "max": 0, "failcnt": failures}
    return found
