# SPDX-License-Identifier: Apache-2.0
"""update: limits of a running container, by flags and by documents, read back from the control files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.runtime import Container, Runtime

MIB = 1 << 20

# What is set: a flag, the same as resources, and what the control files then have: v1 controller, file, text; v2 file,
# text.
Row = tuple[list[str], dict[str, Any], tuple[str, str, str], tuple[str, str]]
ROWS: list[Row] = [
    (["--memory", "96m"], {"memory": {"limit": 96 * MIB}},
     ("memory", "memory.limit_in_bytes", str(96 * MIB)), ("memory.max", str(96 * MIB))),
    (["--memory", "100663296"], {"memory": {"limit": 96 * MIB}},
     ("memory", "memory.limit_in_bytes", str(96 * MIB)), ("memory.max", str(96 * MIB))),
    (["--memory-reservation", "32M"], {"memory": {"reservation": 32 * MIB}},
     ("memory", "memory.soft_limit_in_bytes", str(32 * MIB)), ("memory.low", str(32 * MIB))),
    (["--cpu-share", "512"], {"cpu": {"shares": 512}}, ("cpu", "cpu.shares", "512"), ("cpu.weight", "59")),
    (["--cpu-quota", "50000"], {"cpu": {"quota": 50000}},
     ("cpu", "cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
    (["--cpu-quota=-1"], {"cpu": {"quota": -1}}, ("cpu", "cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
    (["--cpu-period", "200000"], {"cpu": {"period": 200000}},
     ("cpu", "cpu.cfs_period_us", "200000"), ("cpu.max", "80000 200000")),
    (["--cpu-burst", "1000"], {"cpu": {"burst": 1000}}, ("cpu", "cpu.cfs_burst_us", "1000"), ("cpu.max.burst", "1000")),
    (["--cpu-idle", "1"], {"cpu": {"idle": 1}}, ("cpu", "cpu.idle", "1"), ("cpu.idle", "1")),
    (["--cpuset-cpus", "0"], {"cpu": {"cpus": "0"}}, ("cpuset", "cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    (["--cpuset-mems", "0"], {"cpu": {"mems": "0"}}, ("cpuset", "cpuset.mems", "0"), ("cpuset.mems", "0")),
    (["--pids-limit", "55"], {"pids": {"limit": 55}}, ("pids", "pids.max", "55"), ("pids.max", "55")),
    (["--pids-limit", "-1"], {"pids": {"limit": -1}}, ("pids", "pids.max", "max"), ("pids.max", "max")),
]  # fmt: skip


def limited(runtime: Runtime, **more: Any) -> Container:
    """A container with a limit of each kind."""
    bundle = runtime.bundle()
    bundle.linux["resources"].update(
        {"memory": {"limit": 64 * MIB}, "cpu": {"quota": 80000, "period": 100000}, "pids": {"limit": 77}, **more}
    )
    return runtime.start(bundle)


def place(container: Container, controller: str) -> Path:
    for names, path in inspection.cgroups(container.pid).items():
        if controller in names.split(",") or (host.unified() and not names):
            return host.CGROUP_ROOT / ("" if host.unified() else controller) / path.lstrip("/")
    pytest.skip(f"the host has no {controller} controller")


def value(container: Container, controller: str, file: str) -> str:
    path = place(container, controller) / file
    if not path.exists():
        pytest.skip(f"the host's kernel has no {file}")
    return path.read_text().strip()


def files(container: Container) -> dict[str, str]:
    """The limits of the container as the kernel has them."""
    names = {
        "memory": ("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.max", "memory.low"),
        "cpu": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", "cpu.weight"),
        "pids": ("pids.max",),
        "cpuset": ("cpuset.cpus", "cpuset.mems"),
    }
    found = {}
    for controller, each in names.items():
        for file in each:
            path = place(container, controller) / file
            if path.exists():
                found[file] = path.read_text().strip()
    return found


def check(container: Container, before: dict[str, str], row: Row) -> None:
    """The limit is what the row says, and no other has changed."""
    _, _, (controller, v1_file, v1_text), (v2_file, v2_text) = row
    file, text = (v2_file, v2_text) if host.unified() else (v1_file, v1_text)
    assert value(container, controller, file) == text
    after = files(container)
    derived = {file, *(("cpu.shares", "cpu.weight") if file == "cpu.idle" else ())}
    assert {name: after[name] for name in after if name not in derived} == {
        name: before[name] for name in before if name not in derived
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[0]))
def test_flag(runtime: Runtime, row: Row) -> None:
    container = limited(runtime)
    before = files(container)
    runtime.ok("update", *row[0], container.id)
    check(container, before, row)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: json.dumps(row[1]))
def test_document(runtime: Runtime, row: Row) -> None:
    container = limited(runtime)
    before = files(container)
    path = runtime.tmp / "resources.json"
    path.write_text(json.dumps(row[1]))
    runtime.ok("update", "--resources", path, container.id)
    check(container, before, row)


def from_stdin(container: Container, document: str) -> int:
    read, write = os.pipe()
    os.write(write, document.encode())
    os.close(write)
    try:
        return container.runtime.call("update", "--resources=-", container.id, stdin=read).code
    finally:
        os.close(read)


def test_standard_input(runtime: Runtime) -> None:
    """As containerd's shim calls it, with nulls and zeros for what is not set."""
    container = limited(runtime)
    before = files(container)
    sent = {
        "memory": {"limit": 96 * MIB, "reservation": 0, "swap": None, "disableOOMKiller": None},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "pids": None,
        "blockIO": {"weight": 0},
        "devices": None,
    }
    assert from_stdin(container, json.dumps(sent)) == 0
    check(container, before, ROWS[0])


def test_standard_input_that_does_not_end(runtime: Runtime) -> None:
    container = limited(runtime)
    read, write = os.pipe()
    assert "standard input" in runtime.fails("update", "-r", "-", container.id, stdin=read)
    os.close(write)
    os.close(read)


def test_nothing_is_changed_by_nothing(runtime: Runtime) -> None:
    container = limited(runtime)
    before = files(container)
    runtime.ok("update", container.id)
    assert from_stdin(container, "{}") == 0
    assert files(container) == before


def test_several_at_once(runtime: Runtime) -> None:
    container = limited(runtime)
    runtime.ok("update", "--memory=80m", "--cpu-quota=20000", "--cpu-period=50000", "--pids-limit=9", container.id)
    if host.unified():
        expected = {"memory.max": str(80 * MIB), "cpu.max": "20000 50000", "pids.max": "9"}
    else:
        expected = {"memory.limit_in_bytes": str(80 * MIB), "cpu.cfs_quota_us": "20000", "pids.max": "9"}
    after = files(container)
    assert {name: after[name] for name in expected} == expected


def swap_file(container: Container) -> Path:
    path = place(container, "memory") / ("memory.swap.max" if host.unified() else "memory.memsw.limit_in_bytes")
    if not path.exists():
        pytest.skip("the host's kernel does not account swap")
    return path


def test_memory_and_swap_in_any_order(runtime: Runtime) -> None:
    """Raised and lowered, together and alone. v1 has the sum, v2 has swap alone."""
    container = limited(runtime, memory={"limit": 64 * MIB, "swap": 64 * MIB})
    path = swap_file(container)
    limit = place(container, "memory") / ("memory.max" if host.unified() else "memory.limit_in_bytes")

    def now() -> tuple[int, int]:
        memory, swap = int(limit.read_text()) // MIB, int(path.read_text()) // MIB
        return (memory, memory + swap) if host.unified() else (memory, swap)

    for memory, both in ((128, 256), (32, 48), (48, 48), (96, 400), (64, 64)):
        runtime.ok("update", f"--memory={memory}m", f"--memory-swap={both}m", container.id)
        assert now() == (memory, both)
    runtime.ok("update", "--memory-swap=200m", container.id)
    assert now() == (64, 200)
    runtime.ok("update", "--memory=100m", container.id)  # the sum stays
    assert now() == (100, 200)
    error = runtime.fails("update", "--memory=300m", container.id)
    assert "--memory" in error and "swap" in error
    assert now() == (100, 200)
    runtime.ok("update", "--memory=-1", container.id)
    assert path.read_text().strip() in ("max", "9223372036854771712")


def test_under_load_a_hundred_times(runtime: Runtime) -> None:
    """As a kubelet resizes in place: exact each time, and the container is not disturbed."""
    bundle = runtime.bundle().sh("echo up; while :; do dd if=/dev/zero of=/dev/shm/x bs=64k count=16; done 2>/dev/null")
    bundle.linux["resources"].update({"memory": {"limit": 64 * MIB}, "cpu": {"quota": 80000, "period": 100000}})
    container = runtime.start(bundle)
    container.wait_for("up")
    for turn in range(100):
        memory, quota = (48, 128)[turn % 2], (30000, 150000)[turn % 2]
        runtime.ok("update", f"--memory={memory}m", f"--cpu-quota={quota}", container.id)
        found = files(container)
        if host.unified():
            assert (found["memory.max"], found["cpu.max"]) == (str(memory * MIB), f"{quota} 100000")
        else:
            assert (found["memory.limit_in_bytes"], found["cpu.cfs_quota_us"]) == (str(memory * MIB), str(quota))
    assert container.state()["status"] == "running"
    assert inspection.alive(container.pid)


def test_created_and_paused(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["pids"] = {"limit": 77}
    container = runtime.create(bundle)
    runtime.ok("update", "--pids-limit=66", container.id)
    assert value(container, "pids", "pids.max") == "66"
    container.start()
    runtime.ok("pause", container.id)
    runtime.ok("update", "--pids-limit=55", "--memory=64m", container.id)
    assert value(container, "pids", "pids.max") == "55"
    assert container.state()["status"] == "paused"


def test_a_stopped_one(runtime: Runtime) -> None:
    container = limited(runtime)
    container.end()
    assert "not running" in runtime.fails("update", "--pids-limit=5", container.id)


def test_what_is_refused_changes_nothing(runtime: Runtime) -> None:
    """The first limits have been written when the last one is refused."""
    container = limited(runtime)
    before = files(container)
    error = runtime.fails("update", "--memory=96m", "--cpu-quota=5", "--pids-limit=9", container.id)
    assert "--cpu-quota" in error
    assert files(container) == before
    runtime.ok("update", "--pids-limit=9", container.id)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--memory=lots"], "--memory"),
        (["--cpu-share=1.5"], "--cpu-share"),
        (["--cpu-share=-3"], "--cpu-share"),
        (["--cpuset-cpus=4090"], "--cpuset-cpus"),
        (["--cpuset-cpus=a-b"], "--cpuset-cpus"),
        (["--pids-limit=x"], "--pids-limit"),
        (["--l3-cache-schema=L3:0=f"], "--l3-cache-schema"),
    ],
)
def test_errors_name_the_flag(runtime: Runtime, args: list[str], said: str) -> None:
    container = limited(runtime)
    assert said in runtime.fails("update", *args, container.id)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"memory": {"limit": "5"}}', "r.json: /memory/limit"),
        ('{"cpu": {"cpus": "4090"}}', "/cpu/cpus asks for 4090"),
        ('{"cpu": {"quota": 5}}', "/cpu/quota asks for 5"),
        ('{"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}', "r.json: /hugepageLimits/0/pageSize"),
        ('{"memory": ', "r.json: /: not JSON"),
        ("[]", "r.json: /: not an object"),
        ('{"memory": 7}', "r.json: /memory"),
    ],
)
def test_errors_name_the_property(runtime: Runtime, document: str, said: str) -> None:
    container = limited(runtime)
    (runtime.tmp / "r.json").write_text(document)
    result = runtime.call("update", "--resources", "r.json", container.id, cwd=runtime.tmp)
    assert result.code == 1
    assert said in result.err
    assert "/linux/resources" not in result.err


def test_missing_document(runtime: Runtime) -> None:
    container = limited(runtime)
    runtime.fails("update", "--resources", runtime.tmp / "none", container.id)


def test_what_is_kept_is_what_is_in_force(runtime: Runtime) -> None:
    """Later verbs read it from the state."""
    container = limited(runtime)
    runtime.ok("update", "--memory=96m", "--cpuset-cpus=0", container.id)
    kept = json.loads((runtime.root / container.id / "state.json").read_text())["cgroup"]["resources"]
    assert kept["memory"] == {"limit": 96 * MIB}
    assert kept["cpu"] == {"quota": 80000, "period": 100000, "cpus": "0"}
    assert kept["pids"] == {"limit": 77}


def test_device_rules(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    nothing: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    fuse = [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]
    bundle.linux["resources"]["devices"] = nothing + fuse
    container = runtime.start(bundle)

    def denied() -> bool:
        return "not permitted" in container.exec("/bin/sh", "-c", "exec 3</dev/fuse").err

    assert not denied()
    for _ in range(3):
        assert from_stdin(container, json.dumps({"devices": nothing})) == 0
        assert denied()
        assert container.exec("/bin/sh", "-c", "exec 3</dev/null").code == 0
        assert from_stdin(container, json.dumps({"devices": nothing + fuse})) == 0
        assert not denied()


def test_at_once(runtime: Runtime) -> None:
    """One after the other: each is in the state at the end."""
    container = limited(runtime)
    calls = [
        runtime.popen("update", flag, container.id)
        for flag in ("--memory=80m", "--cpu-quota=30000", "--pids-limit=44", "--cpuset-cpus=0")
    ]
    assert [runtime.finish(*call).code for call in calls] == [0] * 4
    kept = json.loads((runtime.root / container.id / "state.json").read_text())["cgroup"]["resources"]
    assert (kept["memory"]["limit"], kept["cpu"]["quota"], kept["pids"]["limit"]) == (80 * MIB, 30000, 44)
    assert kept["cpu"]["cpus"] == "0"


def test_unified(cgroup_v2: None, runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    root = host.CGROUP_ROOT / inspection.cgroups(container.pid)[""].lstrip("/")
    assert from_stdin(container, '{"unified": {"cgroup.max.descendants": "5"}}') == 0
    assert (root / "cgroup.max.descendants").read_text() == "5\n"
    (runtime.tmp / "r.json").write_text('{"unified": {"cgroup.max.depth": "x"}}')
    assert "/unified/cgroup.max.depth asks for x" in runtime.fails("update", "-r", runtime.tmp / "r.json", container.id)
    (runtime.tmp / "r.json").write_text('{"unified": {"../x": "1"}}')
    assert "/unified" in runtime.fails("update", "-r", runtime.tmp / "r.json", container.id)


def test_without_a_cgroup(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    handle = runtime.container(bundle)
    runtime.ok("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, handle.id)
    assert "disabled" in runtime.fails("update", "--pids-limit=5", handle.id)
