# SPDX-License-Identifier: Apache-2.0
"""What happens to one container of a pod, from inside or outside, happens to no other, and not to the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness import host, inspection
from harness.pods import WAITS, Pod, Pods
from harness.runtime import wait_until

SPEAKS = "trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo $n; usleep 50000; done"
"""A script that prints a number each 50 ms, and ends with 0 when it is asked to."""

needs_memory = pytest.mark.skipif(
    host.unified() and "memory" not in (host.CGROUP_ROOT / "cgroup.controllers").read_text().split(),
    reason="this host's cgroup v2 has no memory controller",
)
without_swap = pytest.mark.skipif(len(Path("/proc/swaps").read_text().splitlines()) > 1, reason="this host has swap")


def limit(memory: str) -> dict[str, dict[str, dict[str, str]]]:
    return {"resources": {"limits": {"memory": memory}}}


def goes_on(pod: Pod, container: str) -> None:
    """The supervisor takes what a container prints, and answers."""
    before = len(pod.logs(container))
    wait_until(lambda: len(pod.logs(container)) > before, f"more lines of {container}")
    found = pod.inspect()
    assert found["phase"] == "Running"
    assert inspection.alive(found["supervisor"])


def group(pod: Pod, container: str, controller: str) -> Path:
    path = f"pyoci-pod-{pod.name}/{container}"
    return host.CGROUP_ROOT / path if host.unified() else host.CGROUP_ROOT / controller / path


# --- memory ----------------------------------------------------------------------------------------------------------


@needs_memory
@without_swap
@pytest.mark.parametrize("memory", ["4Ki", "16Ki", "64Ki", "256Ki"])
def test_a_limit_too_small_to_begin_is_that_container_s_end(pods: Pods, memory: str) -> None:
    """In the middle, so that the order of the start is seen to go on."""
    containers = (pods.container("a", SPEAKS), pods.container("b", **limit(memory)), pods.container("c"))
    with pods.start(*containers) as pod:
        wait_until(lambda: pod.member("b")["status"] == "terminated", "the end of b")
        found = pod.member("b")
        assert (found["code"], found["reason"], found["restarts"]) == (137, "OOMKilled", 0)
        (end,) = [event for event in pod.inspect()["events"] if (event["container"], event["event"]) == ("b", "ended")]
        assert end["detail"].startswith("exit status 137: out of memory")
        goes_on(pod, "a")
        text = pods.runtime.ok("pod", "inspect", pod.name).out
        assert "terminated (OOMKilled)" in next(line for line in text.splitlines() if line.startswith("b "))
        assert "  Running  2/3  " in pods.runtime.ok("pod", "ps").out
        ended = pod.stop()
        assert ended["phase"] == "Failed"
        assert [one["code"] for one in ended["containers"]] == [0, 0, 137, 0]


@needs_memory
@without_swap
def test_a_limit_too_small_to_begin_is_tried_again(pods: Pods) -> None:
    containers = (pods.container("a", SPEAKS), pods.container("b", **limit("4Ki")))
    with pods.start(*containers, restartPolicy="Always", flags=("--restart-backoff", "0.1")) as pod:
        wait_until(lambda: pod.member("b")["restarts"] >= 3, "three restarts", 15)
        assert ("b", "back-off") in pod.events()
        goes_on(pod, "a")


@needs_memory
@without_swap
def test_an_init_container_without_memory_fails_the_pod(pods: Pods) -> None:
    path = pods.manifest(pods.container("a"), initContainers=[pods.container("i", "true", **limit("4Ki"))])
    error = pods.runtime.fails("pod", "run", "-d", path)
    assert f"pod {path.stem}: init container i: exit status 137: out of memory" in error
    pods.runtime.ok("pod", "rm", path.stem)
    pods.assert_nothing_left()


EATS = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null"


@needs_memory
@without_swap
@pytest.mark.parametrize(
    ("script", "code", "reason", "words"),
    [
        (f"exec {EATS}", 137, "OOMKilled", "exit status 137: out of memory"),
        (EATS, 137, "OOMKilled", "exit status 137: out of memory"),
        (f"{EATS}; exit 3", 3, "Error", "exit status 3; the kernel killed 1 of its processes before, out of memory"),
        (
            f"{EATS}; exit 0",
            0,
            "Completed",
            "exit status 0; the kernel killed 1 of its processes before, out of memory",
        ),
        ("exit 137", 137, "Error", "exit status 137: signal 9"),
    ],
)
def test_reason_of_an_end(pods: Pods, script: str, code: int, reason: str, words: str) -> None:
    with pods.start(pods.container("a", SPEAKS), pods.container("b", script, **limit("16Mi"))) as pod:
        wait_until(lambda: pod.member("b")["status"] == "terminated", "the end of b")
        found = pod.member("b")
        assert (found["code"], found["reason"]) == (code, reason)
        (end,) = [event for event in pod.inspect()["events"] if (event["container"], event["event"]) == ("b", "ended")]
        assert end["detail"] == words
        goes_on(pod, "a")


# --- what containers print -------------------------------------------------------------------------------------------


def test_a_pipe_that_another_container_holds_open_is_closed(pods: Pods) -> None:
    """Containers that share their PIDs can open each other's descriptors."""
    holds = "a=$(grep -l 424[2] /proc/[0-9]*/cmdline 2>/dev/null); sleep 1000 >${a%cmdline}fd/1 & echo held; " + WAITS
    containers = (pods.container("a", "exec sleep 4242"), pods.container("b", "sleep 0.2; " + holds))
    with pods.start(*containers, shareProcessNamespace=True) as pod:
        pod.wait_for_log("b", "held")
        supervisor = pod.inspect()["supervisor"]

        def pipes() -> int:
            return sum(name.startswith("pipe:") for name in inspection.descriptors(supervisor).values())

        before = pipes()
        os.kill(pod.pid("a"), signal.SIGKILL)
        wait_until(lambda: pod.member("a")["status"] == "terminated", "the end of a")
        wait_until(lambda: pipes() == before - 2, "the end of a's pipes")
        assert inspection.alive(pod.pid("b"))


# --- freezing and stopping -------------------------------------------------------------------------------------------


def freeze(place: Path, value: bool) -> None:
    if host.unified():
        (place / "cgroup.freeze").write_text("1" if value else "0")
    else:
        (place / "freezer.state").write_text("FROZEN" if value else "THAWED")


def freezes(pod: Pod, name: str) -> None:
    freeze(group(pod, name, "freezer"), True)


def stops(pod: Pod, name: str) -> None:
    os.kill(pod.pid(name), signal.SIGSTOP)


@pytest.mark.parametrize("stand_still", [freezes, stops])
@pytest.mark.parametrize("shared", [False, True])
def test_a_container_that_stands_still_holds_up_nobody(
    pods: Pods, stand_still: Callable[[Pod, str], None], shared: bool
) -> None:
    containers = (pods.container("a", SPEAKS), pods.container("b"), pods.container("c", WAITS))
    with pods.start(*containers, terminationGracePeriodSeconds=3, shareProcessNamespace=shared) as pod:
        for name in "abc":
            wait_until(lambda name=name: pod.logs(name), f"a line of {name}")
        stand_still(pod, "b")
        goes_on(pod, "a")
        begin = time.monotonic()
        found = pod.stop()
        assert time.monotonic() - begin < 8
        assert found["phase"] == "Failed"
        assert {one["name"]: one["code"] for one in found["containers"]} == {"pause": 0, "a": 0, "b": 137, "c": 0}


@contextmanager
def signals(pids: str, condition: str, number: signal.Signals) -> Iterator[None]:
    """Sends a signal to each process that a file lists, as soon as it does, if a condition on ``pid`` holds then."""
    program = f"""if True:
        import os, time
        supervisor = os.path.basename(os.path.dirname({pids!r}))
        done = set()
        while True:
            try:
                with open({pids!r}) as file:
                    listed = [int(word) for word in file.read().split()]
                for pid in listed:
                    if pid not in done:
                        done.add(pid)
                        if {condition}:
                            os.kill(pid, {int(number)})
            except OSError:
                pass
    """
    child = subprocess.Popen(["python3", "-IS", "-c", program])
    try:
        yield
    finally:
        child.kill()
        child.wait()


def test_a_start_that_is_held_up_holds_up_nobody(pods: Pods) -> None:
    """pyoci-init is stopped while it makes the container; in a shared PID namespace another container can do that."""
    containers = (pods.container("a", SPEAKS), pods.container("b", "true"))
    flags = ("--restart-backoff", "1.5")
    with pods.start(*containers, restartPolicy="Always", flags=flags, terminationGracePeriodSeconds=3) as pod:
        wait_until(lambda: pod.events().count(("b", "back-off")) == 2, "the second back-off of b")  # of 1.5 s
        with signals(str(group(pod, "b", "pids") / "cgroup.procs"), "True", signal.SIGSTOP):
            wait_until(lambda: (group(pod, "b", "pids") / "cgroup.procs").exists(), "the third start of b")
            time.sleep(0.5)
            goes_on(pod, "a")
            assert pod.events()[-1] == ("b", "back-off")
        begin = time.monotonic()
        found = pod.stop()
        assert time.monotonic() - begin < 8
        assert [(one["name"], one["status"]) for one in found["containers"]] == [
            ("pause", "terminated"), ("a", "terminated"), ("b", "terminated"),
        ]  # fmt: skip


def test_a_killed_job_is_an_error_of_that_container(pods: Pods) -> None:
    """The process that makes or removes a container is killed, as the kernel out of memory might: the pod goes on."""
    containers = (pods.container("a", SPEAKS), pods.container("b", "usleep 100000"))
    flags = ("--restart-backoff", "0.01")
    with pods.start(*containers, restartPolicy="Always", flags=flags) as pod:
        supervisor = pod.inspect()["supervisor"]
        children = f"/proc/{supervisor}/task/{supervisor}/children"
        # Not at once, or nothing would have been begun.
        late = "not time.sleep(len(done) % 8 * 0.003)"
        same = 'os.readlink(f"/proc/{pid}/exe") == os.readlink(f"/proc/{supervisor}/exe")'
        with signals(children, f"{late} and {same}", signal.SIGKILL):
            wait_until(lambda: len(failed(pod)) >= 8, "killed jobs", 30)
        assert "ended without a message, by signal 9" in failed(pod)
        goes_on(pod, "a")
        runs = pod.member("b")["restarts"]
        wait_until(lambda: pod.member("b")["restarts"] > runs + 1, "more restarts of b", 15)
        wait_until(lambda: not zombies(supervisor), "the end of what killed jobs left")


def failed(pod: Pod) -> list[str]:
    return [event["detail"] for event in pod.inspect()["events"] if event["event"].endswith(" failed")]


def zombies(supervisor: int) -> list[int]:
    """Those that are still zombies a moment later: one that has just ended is reaped at the next turn."""
    found = []
    for pid in inspection.descendants(supervisor):
        with suppress(FileNotFoundError):
            if inspection.status(pid)["State"].startswith("Z"):
                found.append(pid)
    time.sleep(0.2 if found else 0)
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]
