# SPDX-License-Identifier: Apache-2.0
"""Resources, read back from the cgroup file system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.runtime import Container, Runtime

pytestmark = pytest.mark.skipif(host.unified(), reason="the host has cgroup v2 alone; these read the files of v1")

CONTROLLERS = ("cpu", "memory", "pids", "devices")


def group(container: Container, controller: str) -> Path:
    """The directory of the container's first process in a hierarchy."""
    path = next(path for names, path in inspection.cgroups(container.pid).items() if controller in names.split(","))
    return host.CGROUP_ROOT / controller / path.lstrip("/")


def with_resources(runtime: Runtime, **resources: Any) -> Container:
    bundle = runtime.bundle()
    bundle.linux["resources"].update(resources)
    return runtime.start(bundle)


@pytest.mark.parametrize(
    ("controller", "resource", "value", "file", "expected"),
    [
        ("memory", "memory", {"limit": 64 << 20}, "memory.limit_in_bytes", str(64 << 20)),
        ("memory", "memory", {"reservation": 32 << 20}, "memory.soft_limit_in_bytes", str(32 << 20)),
        ("memory", "memory", {"limit": 64 << 20, "swap": 128 << 20}, "memory.memsw.limit_in_bytes", str(128 << 20)),
        ("memory", "memory", {"swappiness": 30}, "memory.swappiness", "30"),
        ("memory", "memory", {"limit": -1}, "memory.limit_in_bytes", "9223372036854771712"),
        ("cpu", "cpu", {"shares": 512}, "cpu.shares", "512"),
        ("cpu", "cpu", {"quota": 50000, "period": 200000}, "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu", {"quota": 50000, "period": 200000}, "cpu.cfs_period_us", "200000"),
        ("cpu", "cpu", {"quota": -1}, "cpu.cfs_quota_us", "-1"),
        ("cpuset", "cpu", {"cpus": "0"}, "cpuset.cpus", "0"),
        ("cpuset", "cpu", {"mems": "0"}, "cpuset.mems", "0"),
        ("pids", "pids", {"limit": 77}, "pids.max", "77"),
        ("pids", "pids", {"limit": -1}, "pids.max", "max"),
    ],
)
def test_limit(
    runtime: Runtime, controller: str, resource: str, value: dict[str, Any], file: str, expected: str
) -> None:
    parent = host.CGROUP_ROOT / controller
    if file.startswith("memory.memsw") and not (parent / file).exists():
        pytest.skip("the host's kernel does not account swap in cgroup v1")
    container = with_resources(runtime, **{resource: value})
    assert (group(container, controller) / file).read_text().strip() == expected


def test_cpuset_is_inherited(runtime: Runtime) -> None:
    """A v1 cpuset is empty when made, and takes no process until it is filled from its parent."""
    container = runtime.start(runtime.bundle())
    mine = (host.CGROUP_ROOT / "cpuset/cpuset.cpus").read_text()
    assert (group(container, "cpuset") / "cpuset.cpus").read_text() == mine


def test_pids_limit_works(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("for i in 1 2 3 4 5 6 7 8; do sleep 20 & done; echo unreachable")
    bundle.linux["resources"]["pids"] = {"limit": 5}
    result = runtime.run(bundle)
    assert "unreachable" not in result.out
    assert "fork" in result.err


def test_memory_limit_works(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("head -c 40000000 /dev/zero | tail -c 39999999 | wc -c; echo end")
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    container = runtime.start(bundle)
    container.wait()
    assert "39999999" not in container.output
    assert "oom_kill 0" not in (group_of(container.id, "memory") / "memory.oom_control").read_text()


def group_of(name: str, controller: str) -> Path:
    return host.CGROUP_ROOT / controller / name


def test_tiny_memory_limit(runtime: Runtime) -> None:
    """create may fail or the program may be killed; nothing hangs, and nothing is left."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.linux["resources"]["memory"] = {"limit": 4096}
    assert runtime.run(bundle, timeout=5).code != 0
    runtime.ok("delete", "--force", bundle.name)
    runtime.assert_clean()


def test_refused_limit_undoes_all(runtime: Runtime) -> None:
    """By then init is in the group: it ends, and the groups that were made above it go too."""
    bundle = runtime.bundle()
    bundle.linux["cgroupsPath"] = f"/{bundle.name}-parent/leaf"
    bundle.linux["resources"].update(cpu={"quota": 1}, pids={"limit": 9})
    runtime.container(bundle.save())
    error = runtime.fails("create", "--bundle", bundle.path, bundle.name)
    assert "cpu.cfs_quota_us: invalid argument (/linux/resources/cpu/quota asks for 1)" in error
    runtime.assert_clean()
    assert not any((host.CGROUP_ROOT / controller / f"{bundle.name}-parent").exists() for controller in CONTROLLERS)


def test_limits_are_in_force_before_hooks(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["pids"] = {"limit": 77}
    seen = runtime.tmp / "seen"
    bundle.hook("createRuntime", f"cat {host.CGROUP_ROOT}/pids/{bundle.name}/pids.max >{seen}")
    runtime.create(bundle)
    assert seen.read_text() == "77\n"


def test_devices_are_denied(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    rules = (group(container, "devices") / "devices.list").read_text().split("\n")
    assert "a *:* rwm" not in rules
    assert "c 1:3 rwm" in rules or "c 1:3 rw" in rules


def test_devices_all_allowed(runtime: Runtime) -> None:
    container = with_resources(runtime, devices=[{"allow": True, "access": "rwm"}])
    assert "a *:* rwm" in (group(container, "devices") / "devices.list").read_text()


def test_limit_that_the_kernel_refuses(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["cpu"] = {"cpus": "4000"}
    assert "cpuset" in runtime.refuses(bundle)


def test_unknown_resource_value(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["resources"]["pids"] = {"limit": "many"}
    assert "limit" in runtime.refuses(bundle)
