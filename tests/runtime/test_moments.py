# SPDX-License-Identifier: Apache-2.0
"""Signals, ends and second callers at moments that are seldom hit: each is made to happen, not waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import inspection, reaper
from harness.bundle import Bundle
from harness.runtime import TIMEOUT, Container, Runtime, wait_until

NINE = "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done"


def traced(runtime: Runtime, fault: str, *words: str | Path) -> subprocess.Popen[bytes]:
    """A call of the runtime with a fault of strace's (--inject=) in its way; its children are not followed."""
    argv = [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"inject={fault}",
        runtime.command,
        "--root",
        runtime.root,
        *words,
    ]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reaper.CALLS.add(child.pid)
    return child


def test_signal_while_starting_is_forwarded(runtime: Runtime) -> None:
    """The program runs already, and its end is waited for: `run` may not end by a signal and leave it alone."""
    started = runtime.tmp / "poststart"
    bundle = runtime.bundle().sh(NINE).hook("poststart", f"touch {started}; sleep 0.3").save()
    runtime.container(bundle)
    child, result = runtime.popen("run", "--bundle", bundle.path, bundle.name)
    wait_until(started.exists, "the hook")
    child.terminate()
    assert runtime.finish(child, result).code == 9, result
    runtime.assert_clean()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("stage", ["createRuntime", "createContainer"])
def test_signal_while_creating_undoes_all(runtime: Runtime, stage: str, number: signal.Signals) -> None:
    """Nobody but `run` itself knows of the container that it was about to make.

    It waits for hooks that are its own children, and for the first process, which has the others.
    """
    begun = runtime.tmp / stage
    bundle = runtime.bundle().args("/bin/true").hook(stage, f"touch {begun}; sleep 30").save()
    runtime.container(bundle)
    before = signal.signal(number, lambda *_: None)  # what is ignored, as in a shell's background, stays so in children
    child, result = runtime.popen("run", "--bundle", bundle.path, bundle.name)
    signal.signal(number, before)
    wait_until(begun.exists, "the hook")
    child.send_signal(number)
    assert runtime.finish(child, result, 5).code == 1, result
    assert "interrupted" in result.err
    runtime.assert_clean()


@pytest.mark.parametrize("stage", ["createRuntime", "createContainer"])
def test_signal_that_the_caller_ignores_undoes_nothing(runtime: Runtime, stage: str) -> None:
    """As below nohup, or in the background of a shell."""
    begun = runtime.tmp / stage
    bundle = runtime.bundle().sh("exit 3").hook(stage, f"touch {begun}; sleep 0.3").save()
    runtime.container(bundle)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    child, result = runtime.popen("run", "--bundle", bundle.path, bundle.name)
    signal.signal(signal.SIGHUP, before)
    wait_until(begun.exists, "the hook")
    for _ in range(2):
        child.send_signal(signal.SIGHUP)
    assert runtime.finish(child, result).code == 3, result
    runtime.assert_clean()


def test_signal_while_creating_is_held_for_the_program(runtime: Runtime) -> None:
    """One that does not ask `run` to end: it is the program's, and waits until there is one."""
    begun = runtime.tmp / "createRuntime"
    bundle = runtime.bundle().args("/bin/sleep", "30").drop_namespace("pid")  # PID 1 would not end by it
    bundle.hook("createRuntime", f"touch {begun}; sleep 0.3").save()
    runtime.container(bundle)
    child, result = runtime.popen("run", "--bundle", bundle.path, bundle.name)
    wait_until(begun.exists, "the hook")
    child.send_signal(signal.SIGUSR1)
    assert runtime.finish(child, result, 10).code == 128 + signal.SIGUSR1, result
    runtime.assert_clean()


def test_signals_are_not_blocked_in_the_program(runtime: Runtime) -> None:
    """What `run` and `exec` hold for the program is not held by it; nor what their caller has blocked or ignores."""
    words = ["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGUSR2, signal.SIGRTMAX)}
    try:
        assert runtime.output(runtime.bundle().args(*words)) == none
        with runtime.start(runtime.bundle().args("/bin/sleep", "100")) as container:
            assert runtime.ok("exec", container.id, *words).out == none
    finally:
        for number, disposition in ignored.items():
            signal.signal(number, disposition)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_signal_to_an_early_exec_is_forwarded(runtime: Runtime) -> None:
    with runtime.start(runtime.bundle().args("/bin/sleep", "100")) as container:
        for _ in range(10):
            child, result = runtime.popen("exec", container.id, "/bin/sh", "-c", NINE)
            wait_until(lambda result=result: "up" in result.out, "the process")
            child.terminate()
            assert runtime.finish(child, result).code == 9, result


@pytest.mark.parametrize(
    "fault", ["sendmsg:signal=KILL:when=1", "unlink:signal=KILL:when=1", "sendmsg:signal=KILL:when=2"]
)
def test_start_that_is_killed(runtime: Runtime, fault: str) -> None:
    """Afterwards the container is either created, and can be started, or stopped; never running without a program."""
    container = runtime.create(runtime.bundle().args("/bin/sleep", "100"))
    assert traced(runtime, fault, "start", container.id).wait(TIMEOUT) != 0
    wait_until(lambda: container.state()["status"] in ("created", "stopped"), "an end of the start")
    if container.state()["status"] == "created":
        container.start()
        assert container.state()["status"] == "running"


def test_create_that_comes_late_to_its_lock(runtime: Runtime) -> None:
    """Its directory was deleted by force, and belongs to another by the time at which it goes on."""
    bundle = runtime.bundle().args("/bin/sleep", "100").save()
    container = runtime.container(bundle)
    late = traced(runtime, "flock:delay_enter=1500000:when=1", "create", "--bundle", bundle.path, container.id)
    wait_until(lambda: (runtime.root / container.id).exists(), "the directory")
    runtime.ok("delete", "--force", container.id)
    runtime.ok("create", "--bundle", bundle.path, container.id)
    assert late.wait(TIMEOUT) == 1
    assert container.state()["status"] == "created"
    container.start()
    assert container.state()["status"] == "running"


@contextlib.contextmanager
def sandbox(runtime: Runtime) -> Iterator[Container]:
    """A container whose PID namespace others join."""
    with runtime.start(runtime.bundle().args("/bin/sleep", "1000")) as container:
        yield container


def with_child(runtime: Runtime, joined: Container) -> tuple[Bundle, str]:
    """A bundle in another's PID namespace, whose process has a child; and the seconds that its child sleeps."""
    seconds = str(10**6 + os.getpid() * 10 + runtime.number())
    bundle = runtime.bundle().sh(f"sleep {seconds} & echo up; wait")
    return bundle.namespace("pid", f"/proc/{joined.pid}/ns/pid"), seconds


def asleep(seconds: str) -> bool:
    return any(inspection_line(pid).endswith(f"sleep {seconds}") for pid in inspection.descendants(os.getpid()))


def inspection_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").replace("\0", " ")
    except OSError:
        return ""


def test_kill_in_a_joined_pid_namespace(runtime: Runtime) -> None:
    """The kernel does not end the others there when this container's first process ends."""
    with sandbox(runtime) as other:
        bundle, seconds = with_child(runtime, other)
        with runtime.start(bundle) as container:
            wait_until(lambda: asleep(seconds), "the child")
            container.kill("KILL")
            wait_until(lambda: not asleep(seconds), "the end of the child")


def test_poststart_that_fails_in_a_joined_pid_namespace(runtime: Runtime) -> None:
    with sandbox(runtime) as other:
        bundle, seconds = with_child(runtime, other)
        bundle.hook("poststart", "sleep 0.2; exit 1")
        container = runtime.create(bundle)
        runtime.fails("start", container.id)
        wait_until(lambda: not asleep(seconds), "the end of the child")
        runtime.ok("delete", "--force", container.id)


def test_terminal_in_a_joined_pid_namespace(runtime: Runtime) -> None:
    """Only the leader of a session gets a controlling terminal."""
    with sandbox(runtime) as other:
        bundle = runtime.bundle().sh("tty; : < /dev/tty && echo mine").namespace("pid", f"/proc/{other.pid}/ns/pid")
        bundle.process["terminal"] = True
        assert runtime.output(bundle).split() == ["/dev/pts/0", "mine"]


def test_hooks_and_pid_file_name_the_same_process(runtime: Runtime) -> None:
    """In a joined PID namespace another process goes on than the one that was cloned first."""
    with sandbox(runtime) as other:
        seen = runtime.tmp / "seen"
        bundle = runtime.bundle().args("/bin/sleep", "100").namespace("pid", f"/proc/{other.pid}/ns/pid")
        bundle.hook("poststart", f"cat >{seen}")
        with runtime.start(bundle) as container:
            assert container.state()["pid"] == container.pid
            assert f'"pid":{container.pid},' in seen.read_text().replace(" ", "")
            assert inspection_line(container.pid) == "/bin/sleep 100"


@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
def test_early_hooks_find_the_namespaces_by_the_pid(runtime: Runtime, stage: str) -> None:
    """Before the root is pivoted they are told of a process that is in all of the container's namespaces, whichever is
    its first one in the end: the member of a joined PID namespace comes when nothing can be taken from it."""
    kinds = ("net", "ipc", "uts", "mnt")
    with sandbox(runtime) as other:
        seen = runtime.tmp / "seen"
        bundle = runtime.bundle().args("/bin/sleep", "100").namespace("pid", f"/proc/{other.pid}/ns/pid")
        links = " ".join(f"/proc/$pid/ns/{kind}" for kind in kinds)
        bundle.hook(
            stage, f"pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); for l in {links}; do readlink $l; done >{seen}"
        )
        with runtime.start(bundle) as container:
            assert seen.read_text().split() == [os.readlink(f"/proc/{container.pid}/ns/{kind}") for kind in kinds]


def test_caller_that_ignores_children(runtime: Runtime) -> None:
    """SIGCHLD ignored is inherited, and would make every status of a child vanish (waitpid(2))."""
    bundle = runtime.bundle().sh("exit 3").hook("createRuntime", "exit 0").hook("poststart", "exit 0").save()
    runtime.container(bundle)
    argv = [str(runtime.command), "--root", str(runtime.root), "run", "--bundle", str(bundle.path), bundle.name]
    script = 'trap "" CHLD; exec "$@"'
    done = subprocess.run(["/bin/bash", "-c", script, "bash", *argv], capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("stage", ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"])
def test_hook_with_the_longest_timeout(runtime: Runtime, stage: str) -> None:
    """A month in milliseconds is more than poll(2) takes."""
    bundle = runtime.bundle().args("/bin/true").hook(stage, "exit 0", timeout=2**31 - 1)
    assert runtime.output(bundle) == ""


def test_full_state_root(runtime: Runtime) -> None:
    """The error says where there was no room, and nothing stays."""
    small = runtime.tmp / "small"
    small.mkdir()
    bundle = runtime.bundle().args("/bin/true")
    bundle.config["annotations"] = {"long": "x" * 20000}
    bundle.save()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "small", small], check=True)
    try:
        runtime.root = small
        error = runtime.fails("create", "--bundle", bundle.path, bundle.name)
        assert f"{small}/{bundle.name}/state.json" in error
        assert "no space left on device" in error.lower()
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
        runtime.root = runtime.tmp / "state"
    runtime.assert_clean()


def test_few_descriptors(runtime: Runtime) -> None:
    """With too few for its child the runtime says so, and leaves nothing; it does not start one that lacks some."""
    bundle = runtime.bundle().args("/bin/true").save()
    seen = set()
    for limit in range(8, 40):
        container = runtime.container(bundle)
        script = f'ulimit -S -n {limit}; exec "$@"'
        argv = ["/bin/bash", "-c", script, "bash", str(runtime.command), "--root", str(runtime.root)]
        done = subprocess.run(
            [*argv, "run", "--bundle", str(bundle.path), container.id], capture_output=True, text=True, timeout=TIMEOUT
        )
        seen.add(done.returncode)
        assert "internal error" not in done.stderr, (limit, done)
        assert done.returncode in (0, 1), (limit, done)
        assert done.returncode == 0 or "oo many open files" in done.stderr, (limit, done)
        runtime.assert_clean()
    assert seen == {0, 1}


def test_delete_of_a_container_in_creation(runtime: Runtime) -> None:
    """A container in creation is `creating` until its hooks are done, and `delete --force` ends it."""
    begun = runtime.tmp / "begun"
    bundle = runtime.bundle().args("/bin/true").hook("createRuntime", f"touch {begun}; sleep 0.5").save()
    container = runtime.container(bundle)
    child, result = runtime.popen("create", "--bundle", bundle.path, container.id)
    wait_until(begun.exists, "the hook")
    assert container.state()["status"] == "creating"
    runtime.ok("delete", "--force", container.id)
    assert runtime.finish(child, result).code == 1
    runtime.assert_clean()
