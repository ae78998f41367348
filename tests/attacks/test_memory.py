# SPDX-License-Identifier: Apache-2.0
"""A container's memory limit ends what is in the container, never the runtime (SECURITY: statement 22).

The kernel's OOM killer takes every process that shares memory with the one it chose, in whatever cgroup they are. So
nothing in a container's cgroup may share memory with the runtime, not even for the moment between clone and exec.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import host, inspection
from harness.runtime import Container, Result, Runtime

TIMES = 200
LIMITS = [size << 10 for size in (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)]
KILLED = 137  # of a program by SIGKILL, as `run` tells it

pytestmark = pytest.mark.skipif(not host.has_controller("memory"), reason="the host has no memory controller to limit")


def assert_told(result: Result) -> None:
    """It ended as a program does; if it failed, it said that memory was the reason, in one line."""
    assert result.code >= 0, f"the runtime was killed: {result!r}"
    if result.code not in (0, KILLED):
        lines = result.err.splitlines()
        assert len(lines) == 1, result
        assert "memory" in lines[0], result


@pytest.mark.parametrize("verb", ["create", "run"])
def test_limit_from_the_beginning(runtime: Runtime, verb: str) -> None:
    bundle = runtime.bundle().args("/bin/true")
    failed = 0
    for number in range(TIMES):
        limit = LIMITS[number % len(LIMITS)]
        bundle.linux["resources"]["memory"] = {"limit": limit}
        bundle.save()
        container = runtime.container(bundle)
        result = runtime.call(verb, "--bundle", bundle.path, container.id)
        assert_told(result)
        failed += result.code != 0
        if verb == "create" and result.code == 0:
            runtime.ok("delete", "--force", container.id)
        runtime.assert_clean()
    assert failed >= TIMES // len(LIMITS), "no limit was too small"


def test_exec_at_the_limit(runtime: Runtime) -> None:
    """A container that has up to 8 KiB left: what is killed is the process to be, or another of the container's."""
    container = near_its_limit(runtime, 0)
    for number in range(TIMES):
        if not inspection.alive(container.pid):
            runtime.ok("delete", "--force", container.id)
            container = near_its_limit(runtime, number)
        set_limit(container, used(container) + number % 3 * 4096)
        result = container.exec("/bin/true")
        if "container not running" not in result.err:
            assert_told(result)
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


def near_its_limit(runtime: Runtime, number: int) -> Container:
    """A container that sleeps."""
    bundle = runtime.bundle(f"{runtime.prefix}-full{number}")
    bundle.linux["resources"]["memory"] = {"limit": 64 << 20}
    return runtime.start(bundle)


def files(container: Container) -> tuple[Path, Path]:
    """The control files of its memory: what is used, and the limit."""
    if host.unified():
        group = host.CGROUP_ROOT / container.id
        return group / "memory.current", group / "memory.max"
    group = host.CGROUP_ROOT / "memory" / container.id
    return group / "memory.usage_in_bytes", group / "memory.limit_in_bytes"


def used(container: Container) -> int:
    return int(files(container)[0].read_text())


def set_limit(container: Container, limit: int) -> None:
    """The kernel refuses one below what is in use; then the last one stays."""
    try:
        files(container)[1].write_text(str(limit))
    except OSError:
        pass
