# SPDX-License-Identifier: Apache-2.0
"""kill: signals by name and number, to the first process or to all."""

from __future__ import annotations

import os
import signal

import pytest
from harness import inspection
from harness.runtime import Container, Runtime, wait_until

# The builtin wait ends at a signal whose trap then runs; between the forks of a busy loop busybox may lose one.
pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone

TRAPS = (
    "trap 'echo got USR1' USR1; trap 'exit 15' TERM; trap 'exit 2' INT; sleep 1000 & echo up; while :; do wait $!; done"
)


def trapping(runtime: Runtime) -> Container:
    container = runtime.start(runtime.bundle().sh(TRAPS))
    container.wait_for("up")
    return container


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "term", "sigterm", "15"])
def test_signal_by_name_and_number(runtime: Runtime, name: str) -> None:
    container = trapping(runtime)
    container.kill(name)
    assert container.wait() == 15


def test_default_signal_is_term(runtime: Runtime) -> None:
    container = trapping(runtime)
    runtime.ok("kill", container.id)
    assert container.wait() == 15


def test_signal_that_does_not_end_it(runtime: Runtime) -> None:
    container = trapping(runtime)
    container.kill("USR1")
    container.wait_for("got USR1")
    assert container.state()["status"] == "running"


def test_kill_ends_with_the_signal(runtime: Runtime) -> None:
    container = trapping(runtime)
    container.kill("9")
    assert container.wait() == -signal.SIGKILL


def test_real_time_signal(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().sh("trap 'exit 40' 40; echo up; while :; do sleep 0.01; done"))
    container.wait_for("up")
    container.kill("40")
    assert container.wait() == 40


@pytest.mark.parametrize("name", ["NONESUCH", "0x9", "-1", "65", "1e1", ""])
def test_signal_unknown(runtime: Runtime, name: str) -> None:
    container = runtime.start(runtime.bundle())
    runtime.fails("kill", "--", container.id, name)
    assert inspection.alive(container.pid)


def test_signal_zero_only_asks(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    runtime.call("kill", container.id, "0")
    assert inspection.alive(container.pid)


def test_all_reaches_each_process(runtime: Runtime) -> None:
    bundle = runtime.bundle().drop_namespace("pid").sh("setsid sleep 100 & setsid sleep 100 & echo up; sleep 100; true")
    container = runtime.start(bundle)
    container.wait_for("up")
    wait_until(lambda: len(inspection.descendants(container.pid)) == 3, "the children")
    below = inspection.descendants(container.pid)
    runtime.ok("kill", "--all", container.id, "KILL")
    container.wait()
    wait_until(lambda: not any(map(inspection.alive, below)), "the end of all")


def test_all_after_the_first_process_ended(runtime: Runtime) -> None:
    """The engine's call for a shared PID namespace: what init left behind must go too."""
    bundle = runtime.bundle().drop_namespace("pid").sh("setsid sleep 100 & echo $!; exec sleep 0.05")
    container = runtime.start(bundle)
    container.wait()
    left = int(container.output)
    assert inspection.alive(left)
    runtime.ok("kill", "--all", container.id, "KILL")
    wait_until(lambda: not inspection.alive(left), "the end of the one that was left")
    container.delete()


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_created_container_ends_by_a_signal(runtime: Runtime, name: str) -> None:
    """Its init is the first process of a PID namespace, which does not feel what it does not handle."""
    container = runtime.create(runtime.bundle())
    container.kill(name)
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")
    assert container.state()["status"] == "stopped"
    assert "not running" in runtime.fails("kill", container.id, name)
    container.delete()


def test_program_has_the_default_actions(runtime: Runtime) -> None:
    """What init does by signals is not the program's."""
    text = runtime.output(runtime.bundle().args("/bin/cat", "/proc/self/status"))
    found = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert [int(found[f"Sig{kind}"], 16) for kind in ("Blk", "Ign", "Cgt")] == [0, 0, 0]


def test_kill_reaches_what_init_left_in_the_pid_namespace_of_the_host(runtime: Runtime) -> None:
    """Such a container does not end with its first process: KILL is for all that are left."""
    bundle = runtime.bundle().sh("sleep 100 & echo $! > /rest; exit 0").drop_namespace("pid")
    container = runtime.start(bundle)
    container.wait()
    rest = int((bundle.rootfs / "rest").read_text())
    assert inspection.alive(rest)
    container.kill("KILL")
    wait_until(lambda: not inspection.alive(rest), "the end of the rest")


def test_stopped_text(runtime: Runtime) -> None:
    """containerd's shim takes each of these texts for `finished`."""
    container = runtime.start(runtime.bundle().args("/bin/true"))
    container.wait()
    error = runtime.fails("kill", container.id, "KILL")
    texts = ("os: process already finished", "container not running", "no such process")
    assert any(text in error.lower() for text in texts)


def test_zombie_is_not_running(runtime: Runtime) -> None:
    """An init that ended, but that its parent has not collected yet, is stopped."""
    container = runtime.start(runtime.bundle().args("/bin/sleep", "0.2"))
    descriptor = os.pidfd_open(container.pid)
    os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
    os.close(descriptor)
    child, result = runtime.popen("state", container.id)
    child.wait(5)
    assert '"stopped"' in result.out.replace(" ", "")


def test_other_container_is_untouched(runtime: Runtime) -> None:
    first, second = runtime.start(runtime.bundle()), runtime.start(runtime.bundle())
    runtime.ok("kill", "--all", first.id, "KILL")
    first.wait()
    assert inspection.alive(second.pid)
