# SPDX-License-Identifier: Apache-2.0
"""The runtime is killed in the middle: `delete --force` then leaves no process, cgroup, mount or file."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness import host, inspection
from harness.bundle import Bundle
from harness.runtime import Runtime, wait_until

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone

POINTS = 50


def bundle_of(runtime: Runtime) -> Bundle:
    """With hooks, a cgroup namespace and a volume: more points at which something is half done."""
    bundle = runtime.bundle().namespace("cgroup")
    bundle.hook("createRuntime", "true")
    limits = {"pids": {"limit": 100}, "memory": {"limit": 64 << 20}}
    bundle.linux["resources"].update({name: limit for name, limit in limits.items() if host.has_controller(name)})
    return bundle.save()


def duration(runtime: Runtime, *words: str) -> float:
    """How long a call takes, in seconds."""
    begin = time.monotonic()
    runtime.ok(*words)
    return time.monotonic() - begin


def killed_after(runtime: Runtime, seconds: float, *words: str) -> None:
    child, result = runtime.popen(*words)
    time.sleep(seconds)
    child.kill()
    runtime.finish(child, result)


def assert_deleted(runtime: Runtime, container_id: str, point: int) -> None:
    result = runtime.call("delete", "--force", container_id)
    assert result.code == 0, (point, result)
    left = runtime.leftovers()
    assert not left, (point, left)


@pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
def test_killed(runtime: Runtime, verb: str) -> None:
    bundle = bundle_of(runtime)
    container = runtime.container(bundle)
    create = ["create", "--bundle", str(bundle.path), container.id]
    words = {
        "create": create,
        "start": ["start", container.id],
        "exec": ["exec", container.id, "/bin/true"],
        "delete": ["delete", "--force", container.id],
    }[verb]

    def prepare() -> None:
        if verb != "create":
            runtime.ok(*create)
        if verb in ("exec", "delete"):
            runtime.ok("start", container.id)

    prepare()
    whole = duration(runtime, *words)
    runtime.ok("delete", "--force", container.id)
    points = POINTS if verb == "create" else 12
    for point in range(points):
        prepare()
        killed_after(runtime, whole * point / (points - 1), *words)
        assert_deleted(runtime, container.id, point)


def test_killed_create_leaves_an_id_that_can_be_used_again(runtime: Runtime) -> None:
    bundle = bundle_of(runtime)
    container = runtime.container(bundle)
    words = ["create", "--bundle", str(bundle.path), container.id]
    whole = duration(runtime, *words)
    runtime.ok("delete", "--force", container.id)
    for point in range(8):
        killed_after(runtime, whole * point / 7, *words)
        runtime.ok("list")
        runtime.ok("delete", "--force", container.id)
        runtime.ok(*words)
        runtime.ok("start", container.id)
        runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "poststart", "poststop"])
def test_hook_ends_with_the_runtime(runtime: Runtime, stage: str) -> None:
    """A hook that goes on when its runtime is gone would work on a container that nobody knows of any more."""
    bundle = runtime.bundle()
    file = bundle.path / "pid"
    bundle.hook(stage, f"test -e {file} && exit; echo $$ > {file}.new; mv {file}.new {file}; exec sleep 100").save()
    container = runtime.container(bundle)
    create = ["create", "--bundle", str(bundle.path), container.id]
    if stage in ("poststart", "poststop"):
        runtime.ok(*create)
    if stage == "poststop":
        runtime.ok("start", container.id)
    verbs = {"poststart": ["start", container.id], "poststop": ["delete", "--force", container.id]}
    child, result = runtime.popen(*verbs.get(stage, create))
    wait_until(file.exists, "the hook")
    hook = int(file.read_text())
    child.kill()
    runtime.finish(child, result)
    try:
        wait_until(lambda: not inspection.alive(hook), "the end of the hook")
    finally:
        if inspection.alive(hook):
            os.kill(hook, signal.SIGKILL)
    assert_deleted(runtime, container.id, 0)


def test_init_that_is_killed(runtime: Runtime) -> None:
    """The OOM killer may take init at `created`."""
    container = runtime.create(runtime.bundle())
    os.kill(container.pid, signal.SIGKILL)
    container.wait()
    assert container.state()["status"] == "stopped"
    runtime.fails("start", container.id)
    container.delete()
    runtime.assert_clean()
