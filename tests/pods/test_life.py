# SPDX-License-Identifier: Apache-2.0
"""The life of a pod: the order of its start, restarts, the order of its end, its exit status."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime

from harness.pods import WAITS, Pods
from harness.runtime import wait_until

DEAF = "trap '' TERM; echo up; while :; do sleep 1000 & wait $!; done"


def test_sandbox_then_init_containers_then_containers(pods: Pods) -> None:
    first = pods.container("one", "sleep 0.2; echo one is done")
    second = pods.container("two", "echo two is done")
    with pods.start(pods.container("a"), pods.container("b"), initContainers=[first, second]) as pod:
        assert pod.events() == [
            ("pause", "started"), ("one", "started"), ("one", "ended"), ("two", "started"), ("two", "ended"),
            ("a", "started"), ("b", "started"),
        ]  # fmt: skip
        found = pod.inspect()
        assert found["phase"] == "Running"
        assert [(one["name"], one["status"]) for one in found["containers"]] == [
            ("pause", "running"), ("one", "terminated"), ("two", "terminated"), ("a", "running"), ("b", "running"),
        ]  # fmt: skip


def test_foreground_pod_ends_with_its_containers(pods: Pods) -> None:
    result = pods.run(pods.container("a", "echo from a"), pods.container("b", "echo from b >&2"))
    assert result.code == 0
    assert result.out == "a            | from a\n"
    assert "b            | from b\n" in result.err
    assert "pod           ended: Succeeded\n" in result.err
    pods.assert_nothing_left()


def test_foreground_pod_fails_with_a_container(pods: Pods) -> None:
    result = pods.run(pods.container("a", "exit 3"), pods.container("b", "exit 0"))
    assert result.code == 1
    assert "a             ended: exit status 3\n" in result.err
    assert "pod           ended: Failed\n" in result.err
    pods.assert_nothing_left()


def test_quiet_shows_what_containers_print_and_no_more(pods: Pods) -> None:
    path = pods.manifest(pods.container("a", "echo only this"))
    result = pods.runtime.ok("pod", "run", "-q", path)
    assert (result.out, result.err) == ("a            | only this\n", "")


def test_failed_init_container_fails_the_pod(pods: Pods) -> None:
    path = pods.manifest(pods.container("a"), initContainers=[pods.container("fill", "echo no; exit 4")])
    error = pods.runtime.fails("pod", "run", "-d", path)
    assert f"pod {path.stem}: init container fill: exit status 4" in error
    assert "fill" in pods.runtime.ok("pod", "logs", path.stem).out
    pods.runtime.ok("pod", "rm", path.stem)
    pods.assert_nothing_left()


def test_failed_init_container_is_tried_again(pods: Pods) -> None:
    script = "echo x >>/v/tries; [ $(wc -l </v/tries) -ge 3 ]"
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    with pods.start(
        pods.container("a", "cat /v/tries; " + WAITS, **mounts),
        initContainers=[pods.container("fill", script, **mounts)],
        volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="OnFailure", flags=("--restart-backoff", "0.1"),
    ) as pod:  # fmt: skip
        assert pod.member("fill")["restarts"] == 2
        pod.wait_for_log("a", "x\nx\nx\n")


def test_start_error_fails_the_pod_in_one_line(pods: Pods) -> None:
    slow = pods.container("a", "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 1000 & wait $!; done")
    path = pods.manifest(slow, pods.container("b", command=["/nothing/here"]))
    error = pods.runtime.fails("pod", "run", "-d", path)  # returns when the pod has ended, so that rm can follow
    assert error.count("\n") == 1
    assert "container b: " in error
    assert "/nothing/here" in error
    pods.runtime.ok("pod", "rm", path.stem)
    pods.assert_nothing_left()
    assert pods.run(pods.container("b", command=["/nothing/here"])).code == 1
    pods.assert_nothing_left()


def test_restart_always(pods: Pods) -> None:
    flags = ("--restart-backoff", "0.1")
    with pods.start(pods.container("a", "echo once"), restartPolicy="Always", flags=flags) as pod:
        wait_until(lambda: pod.member("a")["restarts"] >= 3, "three restarts")
        assert pod.logs("a").count("once\n") >= 3
        assert ("a", "back-off") in pod.events()
        assert pod.stop()["phase"] == "Succeeded"


def test_restart_on_failure_only(pods: Pods) -> None:
    volume = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    script = "echo x >>/v/tries; [ $(wc -l </v/tries) -ge 2 ]"
    with pods.start(
        pods.container("a", "true"), pods.container("b", script, **volume),
        volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="OnFailure", flags=("--restart-backoff", "0.1"),
    ) as pod:  # fmt: skip
        found = pod.wait_for_end()
        assert found["phase"] == "Succeeded"
        assert [(one["name"], one["restarts"], one["code"]) for one in found["containers"][1:]] == [
            ("a", 0, 0), ("b", 1, 0),
        ]  # fmt: skip


def test_delays_between_restarts_grow(pods: Pods) -> None:
    flags = ("--restart-backoff", "0.2")
    with pods.start(pods.container("a", "exit 1"), restartPolicy="Always", flags=flags) as pod:
        wait_until(lambda: pod.member("a")["restarts"] >= 3, "three restarts")
        events = [event for event in pod.inspect()["events"] if event["container"] == "a"]
        starts, ends = (
            [datetime.fromisoformat(event["time"]).timestamp() for event in events if event["event"] == what]
            for what in ("started", "ended")
        )
        delays = [start - end for start, end in zip(starts[1:4], ends, strict=False)]
        assert delays[1] >= 0.2
        assert delays[2] >= 0.4


def test_a_restarted_container_has_a_fresh_root(pods: Pods) -> None:
    script = "[ -e /left ] && echo stale; echo x >/left; echo ran; exit 1"
    flags = ("--restart-backoff", "0.1")
    with pods.start(pods.container("a", script), restartPolicy="OnFailure", flags=flags) as pod:
        wait_until(lambda: pod.logs("a").count("ran") >= 3, "three runs")
        assert "stale" not in pod.logs("a")


def test_end_is_in_reverse_order_and_the_sandbox_is_last(pods: Pods) -> None:
    with pods.start(pods.container("a"), pods.container("b"), pods.container("c")) as pod:
        for name in "abc":
            pod.wait_for_log(name, "up")
        found = pod.stop()
        assert found["phase"] == "Succeeded"
        events = pod.events()
        assert events[events.index(("", "stopping")) + 1 :] == [
            ("c", "TERM sent"), ("c", "ended"), ("b", "TERM sent"), ("b", "ended"), ("a", "TERM sent"), ("a", "ended"),
            ("pause", "TERM sent"), ("pause", "ended"), ("", "ended"),
        ]  # fmt: skip
        assert [one["code"] for one in found["containers"]] == [0, 0, 0, 0]


def test_term_ends_a_foreground_pod_in_peace(pods: Pods) -> None:
    front = pods.front(pods.manifest(pods.container("a")))
    front.wait_for("a            | up")
    front.signal(signal.SIGTERM)
    result = front.end()
    assert result.code == 0, result
    assert "pod           stopping: SIGTERM\n" in result.err
    assert "pause         ended: exit status 0\n" in result.err


def test_term_during_a_start_is_no_kill(pods: Pods) -> None:
    """The container speaks before its supervisor knows that it runs; it is asked to end like any other."""
    for _ in range(10):
        front = pods.front(pods.manifest(pods.container("a")))
        while "a            | up" not in front.result.out:
            time.sleep(0.0005)
        front.signal(signal.SIGTERM)
        result = front.end()
        assert result.code == 0, result


def test_term_reaches_a_pod_whose_caller_had_it_blocked(pods: Pods) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        front = pods.front(pods.manifest(pods.container("a")))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    front.wait_for("a            | up")
    front.signal(signal.SIGTERM)
    assert front.end().code == 0


def test_interrupt_of_the_whole_process_group_counts_once(pods: Pods) -> None:
    """As a terminal sends it; also to the jobs of the supervisor, of which there is nearly always one here."""
    slow = "trap 'sleep 0.3; exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done"
    path = pods.manifest(pods.container("a", slow), pods.container("b", "true"), restartPolicy="Always")
    argv = [str(pods.runtime.command), "--root", str(pods.runtime.root), "pod", "run"]
    argv += ["--restart-backoff", "0.001", str(path)]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.execv(argv[0], argv)
    os.close(writer)
    text = b""
    while text.count(b"b             ended") < 3:
        text += os.read(reader, 4096)
    os.killpg(child, signal.SIGINT)
    while piece := os.read(reader, 4096):
        text += piece
    os.close(reader)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, text
    assert b"KILL sent" not in text
    pods.assert_nothing_left()


def test_interrupt_twice_does_not_wait(pods: Pods) -> None:
    path = pods.manifest(pods.container("a", DEAF), terminationGracePeriodSeconds=600)
    front = pods.front(path)
    front.wait_for("a            | up")
    front.signal(signal.SIGINT)
    front.wait_for("a             TERM sent")
    front.signal(signal.SIGINT)
    result = front.end()
    assert result.code == 1, result
    assert "a             KILL sent" in result.err


def test_kill_at_the_end_of_the_grace_period(pods: Pods) -> None:
    with pods.start(pods.container("a"), pods.container("b", DEAF), terminationGracePeriodSeconds=2) as pod:
        pod.wait_for_log("a", "up")
        pod.wait_for_log("b", "up")
        begin = time.monotonic()
        found = pod.stop()
        assert 1.9 < time.monotonic() - begin < 8
        codes = {one["name"]: one["code"] for one in found["containers"]}
        assert codes == {"pause": 0, "a": 0, "b": 137}
        assert found["phase"] == "Failed"
        # b did not listen, and a had its turn all the same
        events = pod.events()
        order = [("b", "TERM sent"), ("a", "TERM sent"), ("a", "ended"), ("b", "KILL sent"), ("b", "ended")]
        assert [event for event in events if event in order] == order


def test_stop_with_another_grace_period(pods: Pods) -> None:
    with pods.start(pods.container("a", DEAF), terminationGracePeriodSeconds=600) as pod:
        pod.wait_for_log("a", "up")
        assert pod.stop("-t", "0")["containers"][1]["code"] == 137


def test_end_during_init(pods: Pods) -> None:
    front = pods.front(pods.manifest(pods.container("a"), initContainers=[pods.container("i")]))
    front.wait_for("i            | up")
    front.signal(signal.SIGTERM)
    result = front.end()
    assert "a             started" not in result.err
    assert result.code == 0, result


def test_end_during_back_off(pods: Pods) -> None:
    with pods.start(pods.container("a", "exit 1"), restartPolicy="Always", flags=("--restart-backoff", "600")) as pod:
        wait_until(lambda: ("a", "back-off") in pod.events()[-1:] and pod.member("a")["restarts"] == 1, "the back-off")
        begin = time.monotonic()
        assert pod.stop()["phase"] == "Failed"
        assert time.monotonic() - begin < 5


def test_end_of_the_sandbox_ends_the_pod(pods: Pods) -> None:
    with pods.start(pods.container("a"), restartPolicy="Always") as pod:
        pod.wait_for_log("a", "up")
        os.kill(pod.pid("pause"), signal.SIGKILL)
        found = pod.wait_for_end()
        assert found["phase"] == "Failed"
        assert found["reason"] == "the sandbox ended: exit status 137: signal 9"
        assert found["containers"][1]["status"] == "terminated"
