# SPDX-License-Identifier: Apache-2.0
"""Limits, read back from the cgroup file system, of v1 or v2 as the host has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import host
from harness.runtime import Container, Runtime

needs_v1 = pytest.mark.skipif(host.unified(), reason="the host has cgroup v2 alone, which has nothing like it")


def group(name: str, controller: str) -> Path:
    """A group's directory in the hierarchy of a controller. Skips the test where the host has none."""
    if not host.has_controller(controller):
        pytest.skip(f"the host has no {controller} controller")
    return host.CGROUP_ROOT / ("" if host.unified() else controller) / name


def with_resources(runtime: Runtime, **resources: Any) -> Container:
    bundle = runtime.bundle()
    bundle.linux["resources"].update(resources)
    return runtime.start(bundle)


MIB = 1 << 20
LIMITS: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("memory", "memory", {"limit": 64 * MIB}, "limit_in_bytes", str(64 * MIB)),
    ("memory", "memory", {"reservation": 32 * MIB}, "soft_limit_in_bytes", str(32 * MIB)),
    ("memory", "memory", {"limit": 64 * MIB, "swap": 128 * MIB}, "memsw.limit_in_bytes", str(128 * MIB)),
    ("memory", "memory", {"swappiness": 30}, "swappiness", "30"),
    ("memory", "memory", {"limit": -1}, "limit_in_bytes", "9223372036854771712"),
    ("cpu", "cpu", {"shares": 512}, "shares", "512"),
    ("cpu", "cpu", {"quota": 50000, "period": 200000}, "cfs_quota_us", "50000"),
    ("cpu", "cpu", {"quota": 50000, "period": 200000}, "cfs_period_us", "200000"),
    ("cpu", "cpu", {"quota": -1}, "cfs_quota_us", "-1"),
    ("cpuset", "cpu", {"cpus": "0"}, "cpus", "0"),
    ("cpuset", "cpu", {"mems": "0"}, "mems", "0"),
    ("pids", "pids", {"limit": 77}, "max", "77"),
    ("pids", "pids", {"limit": -1}, "max", "max"),
]
LIMITS_V2: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("memory", "memory", {"limit": 64 * MIB}, "max", str(64 * MIB)),
    ("memory", "memory", {"reservation": 32 * MIB}, "low", str(32 * MIB)),
    ("memory", "memory", {"limit": 64 * MIB, "swap": 128 * MIB}, "swap.max", str(64 * MIB)),
    ("memory", "memory", {"limit": -1}, "max", "max"),
    ("cpu", "cpu", {"shares": 512}, "weight", "59"),
    ("cpu", "cpu", {"quota": 50000, "period": 200000}, "max", "50000 200000"),
    ("cpu", "cpu", {"quota": -1}, "max", "max 100000"),
    ("cpu", "cpu", {"quota": 50000, "burst": 20000}, "max.burst", "20000"),
    ("cpu", "cpu", {"idle": 1}, "idle", "1"),
    ("cpuset", "cpu", {"cpus": "0"}, "cpus", "0"),
    ("cpuset", "cpu", {"mems": "0"}, "mems", "0"),
    ("pids", "pids", {"limit": 77}, "max", "77"),
    ("pids", "pids", {"limit": -1}, "max", "max"),
    ("memory", "unified", {"memory.high": str(48 * MIB)}, "high", str(48 * MIB)),
]


@pytest.mark.parametrize(
    ("controller", "resource", "value", "file", "expected"), LIMITS_V2 if host.unified() else LIMITS
)
def test_limit(
    runtime: Runtime, controller: str, resource: str, value: dict[str, Any], file: str, expected: str
) -> None:
    parent = group("", controller)
    if file == "memsw.limit_in_bytes" and not (parent / f"memory.{file}").exists():
        pytest.skip("the host's kernel does not account swap in cgroup v1")
    container = with_resources(runtime, **{resource: value})
    if file == "swap.max" and not (group(container.id, "memory") / "memory.swap.max").exists():
        pytest.skip("the host's kernel does not account swap")
    assert (group(container.id, controller) / f"{controller}.{file}").read_text().strip() == expected


@needs_v1
def test_cpuset_is_inherited(runtime: Runtime) -> None:
    """A v1 cpuset is empty when made, and takes no process until it is filled from its parent."""
    container = runtime.start(runtime.bundle())
    mine = (group("", "cpuset") / "cpuset.cpus").read_text()
    assert (group(container.id, "cpuset") / "cpuset.cpus").read_text() == mine


def test_pids_limit_works(runtime: Runtime) -> None:
    group("", "pids")
    bundle = runtime.bundle().sh("for i in 1 2 3 4 5 6 7 8; do sleep 20 & done; echo unreachable")
    bundle.linux["resources"]["pids"] = {"limit": 5}
    result = runtime.run(bundle)
    assert "unreachable" not in result.out
    assert "fork" in result.err


def test_memory_limit_works(runtime: Runtime) -> None:
    group("", "memory")
    bundle = runtime.bundle().sh("head -c 40000000 /dev/zero | tail -c 39999999 | wc -c; echo end")
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    container = runtime.start(bundle)
    container.wait()
    assert "39999999" not in container.output
    events = "memory.events" if host.unified() else "memory.oom_control"
    assert "oom_kill 0" not in (group(container.id, "memory") / events).read_text().splitlines()


@pytest.mark.parametrize("limit", [4096, 16 << 10, 64 << 10])
def test_tiny_memory_limit(runtime: Runtime, limit: int) -> None:
    """create fails, in one line that names the limit and its value; nothing hangs, and nothing is left."""
    group("", "memory")
    bundle = runtime.bundle().args("/bin/true")
    bundle.linux["resources"]["memory"] = {"limit": limit}
    result = runtime.run(bundle, timeout=5)
    assert result.code == 1, result
    (line,) = result.err.splitlines()
    assert "memory" in line
    if runtime.kind == "pyoci":  # the kernel kills init, or has no room for the limit that init exceeds already
        assert "/linux/resources/memory/limit" in line
        assert str(limit) in line
    runtime.assert_clean()


def test_refused_limit_undoes_all(runtime: Runtime) -> None:
    """By then init is in the group: it ends, and the groups that were made above it go too."""
    group("", "cpu")
    bundle = runtime.bundle()
    bundle.linux["cgroupsPath"] = f"/{bundle.name}-parent/leaf"
    bundle.linux["resources"].update(cpu={"quota": 1}, pids={"limit": 9})
    runtime.container(bundle.save())
    error = runtime.fails("create", "--bundle", bundle.path, bundle.name)
    file = "cpu.max" if host.unified() else "cpu.cfs_quota_us"
    assert file in error
    if runtime.kind == "pyoci":
        assert f"{file}: invalid argument (/linux/resources/cpu/quota asks for 1)" in error
    runtime.assert_clean()
    assert not any((host.CGROUP_ROOT / each / f"{bundle.name}-parent").exists() for each in host.controllers())


def test_limits_are_in_force_before_hooks(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["pids"] = {"limit": 77}
    seen = runtime.tmp / "seen"
    bundle.hook("createRuntime", f"cat {group(bundle.name, 'pids')}/pids.max >{seen}")
    runtime.create(bundle)
    assert seen.read_text() == "77\n"


@needs_v1
def test_devices_are_denied(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    rules = (group(container.id, "devices") / "devices.list").read_text().split("\n")
    assert "a *:* rwm" not in rules
    assert "c 1:3 rwm" in rules or "c 1:3 rw" in rules


@needs_v1
def test_devices_all_allowed(runtime: Runtime) -> None:
    container = with_resources(runtime, devices=[{"allow": True, "access": "rwm"}])
    assert "a *:* rwm" in (group(container.id, "devices") / "devices.list").read_text()


def test_limit_that_the_kernel_refuses(runtime: Runtime) -> None:
    group("", "cpuset")
    bundle = runtime.bundle()
    bundle.linux["resources"]["cpu"] = {"cpus": "4000"}
    assert "cpuset" in runtime.refuses(bundle)


def test_unknown_resource_value(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["pids"] = {"limit": "many"}
    assert "limit" in runtime.refuses(bundle)
