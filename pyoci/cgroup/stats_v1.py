# SPDX-License-Identifier: Apache-2.0
"""Statistics of a control group of version 1 (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

from pyoci.cgroup import stats
from pyoci.cgroup.hierarchies import UNIFIED, page_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.stats import Row, Stats

_TICK = 10**9 // 100  # USER_HZ is 100 on all architectures that we run on
_FLAGS = {
    "cpu_exclusive": "cpu_exclusive",
    "mem_hardwall": "mem_hardwall",
    "mem_exclusive": "mem_exclusive",
    "memory_migrate": "memory_migrate",
    "memory_spread_page": "memory_spread_page",
    "memory_spread_slab": "memory_spread_slab",
    "memory_pressure": "memory_pressure",
    "sched_load_balance": "sched_load_balance",
    "sched_relax_domain_level": "sched_relax_domain_level",
}
# runc's name of a table, and the name of its file after the prefix of an I/O scheduler.
_TABLES = (
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("sectorsRecursive", "sectors_recursive"),
)
_SCHEDULERS = ("bfq.", "", "throttle.")


def read(paths: dict[str, str]) -> Stats:
    """Returns the statistics. paths: controller → directory. Raises CgroupError.

    Pressure is known on a hybrid host alone: it is told by cgroup2, also without controllers.
    """
    unified = paths.get(UNIFIED, "")

    def pressure(kind: str) -> Stats | None:
        return stats.pressure(f"{unified}/{kind}.pressure") if unified else None

    return stats.whole(
        {**_cpu(paths.get("cpuacct", ""), paths.get("cpu", "")), "psi": pressure("cpu")},
        _cpuset(paths["cpuset"]) if "cpuset" in paths else {},
        {**(_memory(paths["memory"]) if "memory" in paths else {}), "psi": pressure("memory")},
        _pids(paths["pids"]) if "pids" in paths else {},
        [*(_blkio(paths["blkio"]) if "blkio" in paths else ()), ("psi", pressure("io"))],
        _hugetlb(paths["hugetlb"]) if "hugetlb" in paths else {},
    )


def _cpu(cpuacct: str, cpu: str) -> Stats:
    used: Stats = {}
    if cpuacct:
        ticks = stats.numbers(f"{cpuacct}/cpuacct.stat")
        modes = [line.split() for line in (stats.text_of(f"{cpuacct}/cpuacct.usage_all") or "").splitlines()[1:]]
        used = {
            "total": stats.number(f"{cpuacct}/cpuacct.usage"),
            "percpu": [int(word) for word in (stats.text_of(f"{cpuacct}/cpuacct.usage_percpu") or "").split()],
            "percpu_kernel": [int(words[2]) for words in modes if len(words) == 3],
            "percpu_user": [int(words[1]) for words in modes if len(words) == 3],
            "kernel": ticks.get("system", 0) * _TICK,
            "user": ticks.get("user", 0) * _TICK,
        }
    held = stats.numbers(f"{cpu}/cpu.stat") if cpu else {}
    throttling = {
        "periods": held.get("nr_periods", 0),
        "throttledPeriods": held.get("nr_throttled", 0),
        "throttledTime": held.get("throttled_time", 0),
    }
    return {"usage": used, "throttling": throttling}


def _cpuset(directory: str) -> Stats:
    flags: Stats = {
        name: int((stats.text_of(f"{directory}/cpuset.{file}") or "0").strip()) for name, file in _FLAGS.items()
    }
    found: Stats = {"cpus": stats.cpus(f"{directory}/cpuset.cpus"), "mems": stats.cpus(f"{directory}/cpuset.mems")}
    return found | flags


def _memory(directory: str) -> Stats:
    raw = stats.numbers(f"{directory}/memory.stat")
    found: Stats = {"cache": raw.get("cache", 0)}
    for name, kind in (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")):
        at = f"{directory}/memory.{kind}"
        found[name] = stats.memory(
            stats.number(f"{at}usage_in_bytes"),
            stats.number(f"{at}limit_in_bytes"),
            stats.number(f"{at}max_usage_in_bytes"),
            stats.number(f"{at}failcnt"),
        )
    return {**found, "raw": raw}


def _pids(directory: str) -> Stats:
    limit = stats.number(f"{directory}/pids.max")
    return {"current": stats.number(f"{directory}/pids.current"), "limit": 0 if limit == stats.LARGEST else limit}


def _blkio(directory: str) -> list[tuple[str, object]]:
    """Returns the tables of the I/O scheduler that counts, or those of the throttling layer."""
    found: list[tuple[str, object]] = []
    for name, file in _TABLES:
        tables = (_table(f"{directory}/blkio.{scheduler}{file}") for scheduler in _SCHEDULERS)
        found.append((name, next((table for table in tables if table), [])))
    return found


def _table(path: str) -> list[Row]:
    rows = []
    for line in (stats.text_of(path) or "").splitlines():
        words = line.split()  # 8:0 Read 4096, or 8:0 4096 without an operation; and at the end: Total 4096
        if len(words) in (2, 3):
            rows.append(stats.row(words[0], words[1] if len(words) == 3 else "", words[-1]))
    return [row for row in rows if row]


def _hugetlb(directory: str) -> Stats:
    found: Stats = {}
    for size in page_sizes():
        at = f"{directory}/hugetlb.{size}.rsvd"
        if stats.text_of(f"{at}.usage_in_bytes") is None:
            at = f"{directory}/hugetlb.{size}"
        usage, peak = stats.number(f"{at}.usage_in_bytes"), stats.number(f"{at}.max_usage_in_bytes")
        found[size] = {"usage": usage, "max": peak, "failcnt": stats.number(f"{at}.failcnt")}
    return found
