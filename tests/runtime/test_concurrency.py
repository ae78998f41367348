# SPDX-License-Identifier: Apache-2.0
"""Several callers at once."""

from __future__ import annotations

import json

from harness import inspection
from harness.runtime import Runtime

CALLERS = 12


def test_concurrent_creates_of_one_id(runtime: Runtime) -> None:
    """Exactly one wins, and its container starts."""
    bundles = [runtime.bundle().save() for _ in range(CALLERS)]
    container = runtime.container(bundles[0], f"{runtime.prefix}-one")
    calls = [
        runtime.popen("create", "--bundle", bundle.path, "--pid-file", bundle.path / "pid", container.id)
        for bundle in bundles
    ]
    codes = [runtime.finish(*call).code for call in calls]
    assert codes.count(0) == 1, codes
    winner = bundles[codes.index(0)]
    assert container.state()["bundle"] == str(winner.path)
    container.pid = int((winner.path / "pid").read_text())
    assert [bundle for bundle in bundles if (bundle.path / "pid").exists()] == [winner]
    container.start()
    assert container.state()["status"] == "running"
    assert inspection.alive(container.pid)


def test_concurrent_creates_of_one_id_and_one_bundle(runtime: Runtime) -> None:
    """The losers share the winner's cgroup path: their clean-up must not touch it."""
    bundle = runtime.bundle().save()
    container = runtime.container(bundle)
    calls = [
        runtime.popen("create", "--bundle", bundle.path, "--pid-file", runtime.tmp / f"pid{number}", container.id)
        for number in range(CALLERS)
    ]
    codes = [runtime.finish(*call).code for call in calls]
    assert codes.count(0) == 1, codes
    container.pid = int((runtime.tmp / f"pid{codes.index(0)}").read_text())
    container.start()
    assert inspection.alive(container.pid)
    assert container.sh("echo ok") == "ok\n"


def test_concurrent_deletes(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    calls = [runtime.popen("delete", "--force", container.id) for _ in range(CALLERS)]
    results = [runtime.finish(*call) for call in calls]
    assert [result.code for result in results] == [0] * CALLERS, results
    assert not inspection.alive(container.pid)
    runtime.assert_clean()


def test_concurrent_starts(runtime: Runtime) -> None:
    """One start runs the program, the others are refused."""
    bundle = runtime.bundle().sh("echo x >> /work/runs; sleep 100")
    container = runtime.create(bundle)
    calls = [runtime.popen("start", container.id) for _ in range(6)]
    codes = [runtime.finish(*call).code for call in calls]
    assert codes.count(0) == 1, codes
    assert container.sh("cat /work/runs") == "x\n"


def test_concurrent_containers(runtime: Runtime) -> None:
    bundles = [runtime.bundle().save() for _ in range(CALLERS)]
    containers = [runtime.container(bundle) for bundle in bundles]
    calls = [runtime.popen("create", "--bundle", bundle.path, bundle.name) for bundle in bundles]
    assert [runtime.finish(*call).code for call in calls] == [0] * CALLERS
    calls = [runtime.popen("start", container.id) for container in containers]
    assert [runtime.finish(*call).code for call in calls] == [0] * CALLERS
    found = json.loads(runtime.ok("list", "--format", "json").out)
    assert {entry["status"] for entry in found} == {"running"}
    assert len(found) == CALLERS
    calls = [runtime.popen("delete", "--force", container.id) for container in containers]
    assert [runtime.finish(*call).code for call in calls] == [0] * CALLERS
    runtime.assert_clean()


def test_concurrent_execs(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    calls = [runtime.popen("exec", container.id, "/bin/sh", "-c", f"exit {number}") for number in range(CALLERS)]
    assert [runtime.finish(*call).code for call in calls] == list(range(CALLERS))


def test_list_while_containers_come_and_go(runtime: Runtime) -> None:
    """A container that vanishes between the look and the read is no error."""
    bundle = runtime.bundle().args("/bin/true").save()
    runtime.container(bundle)
    for _ in range(6):
        run = runtime.popen("run", "--bundle", bundle.path, bundle.name)
        while run[0].poll() is None:
            result = runtime.call("list", "--format", "json")
            assert result.code == 0, result
        assert runtime.finish(*run).code == 0
