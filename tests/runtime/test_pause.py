# SPDX-License-Identifier: Apache-2.0
"""pause and resume: all processes stand, and go on; what the other verbs do with a paused container."""

from __future__ import annotations

import signal
import time

import pytest
from harness import inspection
from harness.runtime import Container, Runtime, wait_until

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone

COUNTS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"


def counting(runtime: Runtime) -> Container:
    container = runtime.start(runtime.bundle().sh(f"({COUNTS}) & echo up; wait"))
    container.wait_for("up")
    return container


def test_all_processes_stand_and_go_on(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.ok("pause", container.id)
    assert container.state()["status"] == "paused"
    assert container.state()["pid"] == container.pid
    seen = container.output
    time.sleep(0.2)
    assert container.output == seen
    runtime.ok("resume", container.id)
    assert container.state()["status"] == "running"
    wait_until(lambda: container.output != seen, "the container to go on")


def test_many_times(runtime: Runtime) -> None:
    container = counting(runtime)
    for _ in range(20):
        runtime.ok("pause", container.id)
        runtime.ok("resume", container.id)
    assert container.sh("echo alive") == "alive\n"


def test_list_shows_it(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.ok("pause", container.id)
    assert " paused " in runtime.ok("list").out


def test_exec_and_delete_refuse(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.ok("pause", container.id)
    assert "paused" in runtime.fails("exec", container.id, "/bin/true")
    runtime.fails("delete", container.id)
    assert container.state()["status"] == "paused"


def test_exec_that_ignores_the_pause_waits_for_the_end_of_it(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.ok("pause", container.id)
    child, result = runtime.popen("exec", "--ignore-paused", container.id, "/bin/echo", "hi")
    time.sleep(0.3)
    assert child.poll() is None
    runtime.ok("resume", container.id)
    assert runtime.finish(child, result).out == "hi\n"


def test_twice_is_an_error(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.fails("resume", container.id)
    runtime.ok("pause", container.id)
    runtime.fails("pause", container.id)
    assert container.state()["status"] == "paused"


def test_a_stopped_one_is_not_running(runtime: Runtime) -> None:
    container = counting(runtime)
    container.end()
    assert "not running" in runtime.fails("pause", container.id)
    runtime.fails("resume", container.id)


def test_kill_ends_a_paused_one(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.ok("pause", container.id)
    container.kill("KILL")
    assert container.wait() == -signal.SIGKILL
    container.delete()


def test_kill_all_ends_a_paused_one(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().drop_namespace("pid").sh("sleep 100 & echo up; sleep 100; true"))
    container.wait_for("up")
    below = inspection.descendants(container.pid)
    runtime.ok("pause", container.id)
    runtime.ok("kill", "--all", container.id, "KILL")
    assert container.wait() == -signal.SIGKILL
    wait_until(lambda: not any(map(inspection.alive, below)), "the end of all processes")


def test_other_signals_wait_for_the_end_of_the_pause(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done"))
    container.wait_for("up")
    runtime.ok("pause", container.id)
    container.kill("TERM")
    time.sleep(0.1)
    assert container.state()["status"] == "paused"
    runtime.ok("resume", container.id)
    assert container.wait() == 7


def test_delete_by_force(runtime: Runtime) -> None:
    container = counting(runtime)
    runtime.ok("pause", container.id)
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


def test_a_created_one(runtime: Runtime) -> None:
    """`start` of it is refused at once: a frozen init would not answer. After the pause it is created again."""
    container = runtime.create(runtime.bundle().sh("echo up; sleep 100"))
    runtime.ok("pause", container.id)
    assert container.state()["status"] == "paused"
    assert "paused" in runtime.fails("start", container.id)
    runtime.ok("resume", container.id)
    assert container.state()["status"] == "created"
    container.start()
    container.wait_for("up")


def test_a_created_one_is_deleted(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    runtime.ok("pause", container.id)
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()
