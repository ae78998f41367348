# SPDX-License-Identifier: Apache-2.0
"""containerd's shim calls the runtime: run, exec, kill, delete, and the texts that it matches."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.containerd import IMAGE, Containerd
from harness.plugin import kind

pytestmark = [
    pytest.mark.skipif(not shutil.which("containerd") or not shutil.which("ctr"), reason="the host has no containerd"),
    pytest.mark.skipif(os.geteuid() != 0, reason="makes real containers: needs root"),
]


@pytest.fixture(scope="module")
def daemon(busybox: Path) -> Iterator[Containerd]:
    kind()
    made = Containerd(busybox)
    yield made
    left = made.close()
    assert not left, f"left behind: {left}"


@pytest.fixture
def ctr(daemon: Containerd) -> Iterator[Containerd]:
    yield daemon
    daemon.remove_all()


def status_of(ctr: Containerd, name: str) -> str:
    """RUNNING, STOPPED and so on; empty without a task."""
    for line in ctr.ok("tasks", "list").splitlines()[1:]:
        task, _, status = line.split()
        if task == name:
            return status
    return ""


def wait_for(ctr: Containerd, name: str, status: str) -> None:
    for _ in range(100):
        if status_of(ctr, name) == status:
            return
        time.sleep(0.05)
    pytest.fail(f"{name} did not become {status}, it is {status_of(ctr, name)!r}")


def test_run(ctr: Containerd) -> None:
    done = ctr.run("--rm", IMAGE, "one", "/bin/echo", "hi")
    assert (done.returncode, done.stdout) == (0, "hi\n"), done


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_code(ctr: Containerd, code: int) -> None:
    assert ctr.run("--rm", IMAGE, "one", "/bin/sh", "-c", f"exit {code}").returncode == code


def test_missing_program(ctr: Containerd) -> None:
    done = ctr.run("--rm", IMAGE, "one", "nonesuch")
    assert done.returncode != 0
    assert "executable file" in done.stderr
    assert "OCI runtime create failed" in done.stderr


def test_detached_exec_kill_delete(ctr: Containerd) -> None:
    assert (
        ctr.run(
            "--detach", IMAGE, "one", "/bin/sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"
        ).returncode
        == 0
    )
    wait_for(ctr, "one", "RUNNING")
    assert ctr.ok("tasks", "exec", "--exec-id", "e1", "one", "/bin/echo", "inside") == "inside\n"
    assert ctr.call("tasks", "exec", "--exec-id", "e2", "one", "/bin/sh", "-c", "exit 6").returncode == 6
    assert ctr.call("tasks", "exec", "--exec-id", "e3", "one", "nonesuch").returncode != 0
    assert ctr.ok("tasks", "exec", "--exec-id", "e4", "--user", "1000", "one", "/bin/id", "-u") == "1000\n"
    assert "sleep" in ctr.ok("tasks", "exec", "--exec-id", "e5", "one", "/bin/ps")
    ctr.ok("tasks", "kill", "--signal", "SIGTERM", "one")
    wait_for(ctr, "one", "STOPPED")
    assert ctr.call("tasks", "delete", "one").returncode in (0, 3)  # ctr ends with the task's own status
    assert status_of(ctr, "one") == ""


def test_kill_all(ctr: Containerd) -> None:
    ctr.run("--detach", IMAGE, "one", "/bin/sh", "-c", "sleep 100 & sleep 100")
    ctr.ok("tasks", "kill", "--all", "--signal", "SIGKILL", "one")
    wait_for(ctr, "one", "STOPPED")


def test_kill_of_a_stopped_task(ctr: Containerd) -> None:
    """The shim turns `container not running` into its own answer."""
    ctr.run("--detach", IMAGE, "one", "/bin/true")
    wait_for(ctr, "one", "STOPPED")
    done = ctr.call("tasks", "kill", "one")
    assert "already finished" in done.stderr or "not found" in done.stderr, done


def test_delete_of_a_running_task_by_force(ctr: Containerd) -> None:
    ctr.run("--detach", IMAGE, "one", "/bin/sleep", "100")
    ctr.call("tasks", "delete", "--force", "one")
    assert status_of(ctr, "one") == ""


def test_processes_are_listed(ctr: Containerd) -> None:
    """The shim asks `ps --format json`."""
    ctr.run("--detach", IMAGE, "one", "/bin/sleep", "100")
    assert len(ctr.ok("tasks", "ps", "one").splitlines()) == 2


def test_pause_and_resume(ctr: Containerd) -> None:
    ctr.run("--detach", IMAGE, "one", "/bin/sleep", "100")
    ctr.ok("tasks", "pause", "one")
    wait_for(ctr, "one", "PAUSED")
    ctr.ok("tasks", "resume", "one")
    wait_for(ctr, "one", "RUNNING")


def test_options(ctr: Containerd) -> None:
    done = ctr.run(
        "--rm",
        "--env",
        "A=1",
        "--cwd",
        "/work",
        "--memory-limit",
        str(64 << 20),
        IMAGE,
        "one",
        "/bin/sh",
        "-c",
        "echo $A; pwd",
    )
    assert done.stdout.split() == ["1", "/work"], done


def test_seccomp_profile(ctr: Containerd) -> None:
    """containerd's own default profile."""
    done = ctr.run("--rm", "--seccomp", IMAGE, "one", "/bin/grep", "Seccomp:", "/proc/self/status")
    assert done.stdout.split() == ["Seccomp:", "2"], done


def test_privileged(ctr: Containerd) -> None:
    done = ctr.run("--rm", "--privileged", IMAGE, "one", "/bin/sh", "-c", "mount -t tmpfs none /tmp && echo mounted")
    assert done.stdout == "mounted\n", done


def test_several_at_once(ctr: Containerd) -> None:
    for number in range(4):
        assert ctr.run("--detach", IMAGE, f"c{number}", "/bin/sleep", "100").returncode == 0
    assert {status_of(ctr, f"c{number}") for number in range(4)} == {"RUNNING"}
