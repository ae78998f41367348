# SPDX-License-Identifier: Apache-2.0
"""events: statistics once and again, in runc's form, compared with the control files; OOM."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.runtime import Container, Runtime, wait_until

MIB = 1 << 20


def statistics(container: Container) -> dict[str, Any]:
    event = json.loads(container.runtime.ok("events", "--stats", container.id).out)
    assert (event["type"], event["id"]) == ("stats", container.id)
    data: dict[str, Any] = event["data"]
    return data


def limited(runtime: Runtime, script: str = "echo up; exec sleep 1000") -> Container:
    bundle = runtime.bundle().sh(script)
    bundle.linux["resources"].update({"memory": {"limit": 64 * MIB}, "pids": {"limit": 77}})
    container = runtime.start(bundle)
    container.wait_for("up")
    return container


def place(container: Container, controller: str) -> Path:
    for names, path in inspection.cgroups(container.pid).items():
        if controller in names.split(",") or (host.unified() and not names):
            return host.CGROUP_ROOT / ("" if host.unified() else controller) / path.lstrip("/")
    pytest.skip(f"the host has no {controller} controller")


def test_memory(runtime: Runtime) -> None:
    container = limited(runtime, "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; echo up; exec sleep 1000")
    memory = statistics(container)["memory"]
    usage = memory["usage"]
    assert usage["limit"] == 64 * MIB
    assert 8 * MIB <= usage["usage"] <= usage["max"] < 64 * MIB
    assert usage["failcnt"] == 0
    assert memory["cache"] >= 8 * MIB
    raw = dict(line.split() for line in (place(container, "memory") / "memory.stat").read_text().splitlines())
    assert memory["raw"].keys() == raw.keys()
    name = "file" if host.unified() else "total_cache"
    assert memory["raw"][name] == int(raw[name])


def test_the_peak_outlives_the_use(runtime: Runtime) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=24 2>/dev/null; rm /dev/shm/x; echo up; exec sleep 1000"
    container = limited(runtime, script)
    if host.unified() and not (place(container, "memory") / "memory.peak").exists():
        pytest.skip("the host's kernel has no memory.peak")
    usage = statistics(container)["memory"]["usage"]
    assert usage["usage"] < 20 * MIB < usage["max"]


def test_pids(runtime: Runtime) -> None:
    container = limited(runtime, "sleep 1000 & sleep 1000 & echo up; sleep 1000; true")
    wait_until(lambda: statistics(container)["pids"] == {"current": 4, "limit": 77}, "four processes")


def test_cpu(runtime: Runtime) -> None:
    container = limited(runtime, "echo up; while :; do :; done")
    before = statistics(container)["cpu"]["usage"]
    time.sleep(0.5)
    after = statistics(container)["cpu"]["usage"]
    grown = {name: after[name] - before[name] for name in ("total", "user")}
    assert 20_000_000 < grown["total"] < 5_000_000_000
    assert grown["user"] <= grown["total"] * 1.5 + 20_000_000
    if not host.unified():
        assert abs(sum(after["percpu"]) - after["total"]) < 1_000_000_000


def test_throttling(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo up; while :; do :; done")
    bundle.linux["resources"]["cpu"] = {"quota": 2000, "period": 20000}
    container = runtime.start(bundle)
    wait_until(lambda: statistics(container)["cpu"]["throttling"]["throttledPeriods"] > 2, "it to be throttled", 10)
    throttling = statistics(container)["cpu"]["throttling"]
    assert throttling["periods"] >= throttling["throttledPeriods"]
    assert throttling["throttledTime"] > 0


def test_cpuset(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["cpu"] = {"cpus": "0"}
    assert statistics(runtime.start(bundle))["cpuset"]["cpus"] == [0]


def test_form(cgroups: None, runtime: Runtime) -> None:
    """The parts of runc's document (types/events.go), on v1, and on v2 also without controllers."""
    container = runtime.start(runtime.bundle())
    data = statistics(container)
    assert list(data) == ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"]
    assert data["pids"]["current"] == 1
    assert data["network_interfaces"] is None
    for rows in data["blkio"].values():
        if isinstance(rows, list):
            assert all(set(row) == {"major", "minor", "op", "value"} for row in rows)


def test_pressure(cgroup_v2: None, runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().sh("echo up; while :; do :; done"))
    path = host.CGROUP_ROOT / inspection.cgroups(container.pid)[""].lstrip("/") / "cpu.pressure"
    try:
        path.read_text()
    except OSError:
        pytest.skip("the host's kernel has no pressure stall information")
    some = statistics(container)["cpu"]["psi"]["some"]
    assert set(some) == {"avg10", "avg60", "avg300", "total"}
    assert some["total"] <= int(path.read_text().split()[4].removeprefix("total="))


def test_created_and_paused(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    assert statistics(container)["pids"]["current"] == 1
    container.start()
    runtime.ok("pause", container.id)
    assert statistics(container)["pids"]["current"] == 1


def test_a_stopped_one(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    container.end()
    assert "not running" in runtime.fails("events", "--stats", container.id)
    assert "not running" in runtime.fails("events", container.id)


@pytest.mark.parametrize("text", ["0", "0s", "-1s", "x", "5", "1d"])
def test_interval_that_is_none(runtime: Runtime, text: str) -> None:
    container = runtime.start(runtime.bundle())
    assert "interval" in runtime.fails("events", f"--interval={text}", container.id)


def events(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.out.splitlines()]


def test_again_and_again_until_the_end(runtime: Runtime) -> None:
    container = limited(runtime)
    child, result = runtime.popen("events", "--interval", "100ms", container.id)
    wait_until(lambda: len(events(result)) >= 3, "three statistics", 10)
    assert child.poll() is None
    container.end()
    runtime.finish(child, result, 5)
    assert result.code == 0
    assert {event["type"] for event in events(result)} == {"stats"}
    usages = [event["data"]["cpu"]["usage"]["total"] for event in events(result)]
    assert usages == sorted(usages)


OOM = "echo up; while [ ! -e /dev/shm/go ]; do sleep 0.05; done; tail /dev/zero; echo survived; exec sleep 1000"


def test_out_of_memory(runtime: Runtime) -> None:
    """A process other than init is killed; the container goes on."""
    container = limited(runtime, OOM)
    child, result = runtime.popen("events", "--interval", "1h", container.id)
    time.sleep(0.5)
    container.sh("touch /dev/shm/go")
    container.wait_for("survived", 15)
    wait_until(lambda: events(result) == [{"type": "oom", "id": container.id}], "the event")
    container.end()
    assert runtime.finish(child, result).code == 0
    assert [event["type"] for event in events(result)] == ["oom"]


def test_out_of_memory_that_ends_it(runtime: Runtime) -> None:
    container = limited(runtime, OOM.replace("tail /dev/zero", "exec tail /dev/zero"))
    child, result = runtime.popen("events", "--interval", "1h", container.id)
    time.sleep(0.5)
    container.sh("touch /dev/shm/go")
    assert container.wait(15) == -9
    assert runtime.finish(child, result).code == 0
    assert events(result) == [{"type": "oom", "id": container.id}]


def test_reader_that_has_seen_enough(runtime: Runtime) -> None:
    container = limited(runtime)
    argv = [runtime.command, "--root", runtime.root, "events", "--interval", "10ms", container.id]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout and child.stderr
    assert json.loads(child.stdout.readline())["type"] == "stats"
    child.stdout.close()
    assert child.wait(10) in (0, -signal.SIGPIPE)
    assert child.stderr.read() == ""


def test_without_a_cgroup(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    handle = runtime.container(bundle)
    runtime.ok("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, handle.id)
    assert "disabled" in runtime.fails("events", "--stats", handle.id)
