# SPDX-License-Identifier: Apache-2.0
"""Statistics, from directories that look like control groups: what no test host has, and what is malformed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroup import oom, stats, stats_v1, stats_v2
from pyoci.cli import events
from pyoci.errors import CgroupError, UsageError

PSI = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
PRESSURE = {
    "some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 123},
    "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 7},
}


def fill(place: Path, **files: str) -> str:
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        place.joinpath(name.replace("__", ".")).write_text(text)
    return str(place)


@pytest.fixture(autouse=True)
def _sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stats_v1, stats_v2):
        monkeypatch.setattr(module, "page_sizes", lambda: ["2MB", "1GB"])


def test_v2(tmp_path: Path) -> None:
    place = fill(
        tmp_path,
        cpu__stat="usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9\n",
        cpu__pressure=PSI,
        cpuset__cpus__effective="0-2,7\n",
        cpuset__mems__effective="0\n",
        memory__current="1000\n",
        memory__peak="2000\n",
        memory__max="4000\n",
        memory__swap__current="10\n",
        memory__swap__max="50\n",
        memory__stat="anon 5\nfile 6\nkernel 7\nsock 8\n",
        memory__events="low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
        memory__pressure=PSI,
        pids__current="5\n",
        pids__max="max\n",
        io__stat="8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 rbytes=9\nx:y rbytes=1\n7:0 \n",
        io__pressure=PSI,
    )
    fill(tmp_path, **{"hugetlb__2MB__rsvd__current": "4096\n", "hugetlb__2MB__events": "max 6\n"})
    assert stats_v2.read(place) == {
        "cpu": {
            "usage": {"total": 30000, "kernel": 20000, "user": 10000},
            "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 9000},
            "psi": PRESSURE,
        },
        "cpuset": {"cpus": [0, 1, 2, 7], "mems": [0]},
        "memory": {
            "cache": 6,
            "usage": {"limit": 4000, "usage": 1000, "max": 2000, "failcnt": 3},
            "swap": {"limit": 4050, "usage": 1010, "max": 0, "failcnt": 0},
            "kernel": {"limit": stats.LARGEST, "usage": 7, "max": 0, "failcnt": 0},
            "kernelTCP": {"limit": stats.LARGEST, "usage": 8, "max": 0, "failcnt": 0},
            "raw": {"anon": 5, "file": 6, "kernel": 7, "sock": 8},
            "psi": PRESSURE,
        },
        "pids": {"current": 5, "limit": 0},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 1},
                {"major": 8, "minor": 0, "op": "Write", "value": 2},
                {"major": 8, "minor": 16, "op": "Read", "value": 9},
            ],
            "ioServicedRecursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 3},
                {"major": 8, "minor": 0, "op": "Write", "value": 4},
            ],
            "psi": PRESSURE,
        },
        "hugetlb": {"2MB": {"usage": 4096, "max": 0, "failcnt": 6}},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def test_v2_without_limits_of_memory(tmp_path: Path) -> None:
    place = fill(tmp_path, memory__current="1\n", memory__max="max\n", memory__swap__max="5\n")
    memory: Any = stats_v2.read(place)["memory"]
    assert (memory["usage"]["limit"], memory["swap"]["limit"]) == (stats.LARGEST, stats.LARGEST)


def test_v2_without_controllers(tmp_path: Path) -> None:
    found = stats_v2.read(fill(tmp_path, cgroup__procs="7\n9\n"))
    assert (found["pids"], found["memory"], found["hugetlb"]) == ({"current": 2, "limit": 0}, {}, {})


def test_v1(tmp_path: Path) -> None:
    blkio = {
        "blkio.bfq.io_serviced_recursive": "Total 0\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 3\n8:0 Total 3\nTotal 3\n",
        "blkio.sectors_recursive": "8:0 17\n",
    }
    paths = {
        "cpuacct": fill(
            tmp_path / "acct",
            cpuacct__stat="user 3\nsystem 4\n",
            cpuacct__usage="70000000\n",
            cpuacct__usage_percpu="30 40 \n",
            cpuacct__usage_all="cpu user system\n0 1 2\n1 3 4\n",
        ),
        "cpu": fill(tmp_path / "cpu", cpu__stat="nr_periods 4\nnr_throttled 2\nthrottled_time 9\n"),
        "cpuset": fill(
            tmp_path / "set", cpuset__cpus="1,3\n", cpuset__mems="0\n", cpuset__sched_relax_domain_level="-1\n"
        ),
        "memory": fill(
            tmp_path / "memory",
            memory__stat="cache 6\n",
            memory__usage_in_bytes="1000\n",
            memory__limit_in_bytes="4000\n",
            memory__max_usage_in_bytes="2000\n",
            memory__failcnt="5\n",
        ),
        "pids": fill(tmp_path / "pids", pids__current="5\n", pids__max="9\n"),
        "blkio": fill(tmp_path / "blkio", **blkio),
        "hugetlb": fill(
            tmp_path / "huge",
            **{
                "hugetlb.2MB.rsvd.usage_in_bytes": "1\n",
                "hugetlb.2MB.rsvd.max_usage_in_bytes": "2\n",
                "hugetlb.2MB.rsvd.failcnt": "3\n",
                "hugetlb.1GB.usage_in_bytes": "4\n",
            },
        ),
        "unified": fill(tmp_path / "unified", io__pressure=PSI),
    }
    found: Any = stats_v1.read(paths)
    assert found["cpu"] == {
        "usage": {
            "total": 70000000,
            "percpu": [30, 40],
            "percpu_kernel": [2, 4],
            "percpu_user": [1, 3],
            "kernel": 40000000,
            "user": 30000000,
        },
        "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 9},
    }
    assert (found["cpuset"]["cpus"], found["cpuset"]["sched_relax_domain_level"]) == ([1, 3], -1)
    assert found["memory"]["usage"] == {"limit": 4000, "usage": 1000, "max": 2000, "failcnt": 5}
    assert found["memory"]["raw"] == {"cache": 6}
    assert found["pids"] == {"current": 5, "limit": 9}
    assert found["blkio"] == {
        "ioServicedRecursive": [
            {"major": 8, "minor": 0, "op": "Read", "value": 3},
            {"major": 8, "minor": 0, "op": "Total", "value": 3},
        ],
        "sectorsRecursive": [{"major": 8, "minor": 0, "op": "", "value": 17}],
        "psi": PRESSURE,
    }
    assert found["hugetlb"] == {
        "2MB": {"usage": 1, "max": 2, "failcnt": 3},
        "1GB": {"usage": 4, "max": 0, "failcnt": 0},
    }


def test_v1_without_any_controller() -> None:
    found = stats_v1.read({})
    assert (found["memory"], found["pids"], found["blkio"], found["hugetlb"]) == ({}, {}, {}, {})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "pids.current").mkdir()
    with pytest.raises(CgroupError, match="read .*pids.current: is a directory"):
        stats_v2.read(str(tmp_path))


def test_oom_is_told_once(tmp_path: Path) -> None:
    kills = [2]
    (tmp_path / "memory.events").write_text("oom_kill 2\n")
    watch = oom.by_poll(str(tmp_path), lambda: kills[0])
    assert not watch.happened()
    kills[0] = 4
    assert watch.happened()
    assert not watch.happened()
    watch.close()
    assert oom.by_poll(str(tmp_path / "none"), lambda: 0).descriptor == -1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5s", 1.5), ("2h", 7200), (".5s", 0.5), ("7us", 7e-6), ("7µs", 7e-6)],
)
def test_durations(text: str, seconds: float) -> None:
    assert events._seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-5s", "5", "s", "1.2.3s", "1d", "5s5", "٣s", " "])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="flag --interval"):
        events._seconds(text)
