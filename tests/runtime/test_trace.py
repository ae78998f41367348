# SPDX-License-Identifier: Apache-2.0
"""What happens between the clone and the program, seen by strace."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from harness import tracing
from harness.runtime import TIMEOUT, Runtime

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="the host has no strace")


def calls_of(runtime: Runtime, verb: str) -> tuple[list[str], list[int]]:
    """The lines of a trace, and the children that the runtime cloned."""
    bundle = runtime.bundle()
    if verb == "create":
        words = ["create", "--bundle", str(bundle.save().path), runtime.container(bundle).id]
    else:
        words = ["exec", runtime.start(bundle).id, "/bin/true"]
    lines = tracing.trace(runtime, bundle.name, *words)
    return lines, tracing.children(lines, tracing.runtime_process(runtime, lines))


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_child_executes_init_at_once(runtime: Runtime, verb: str) -> None:
    """After the clone the runtime's code opens no file in the child, which goes straight to the exec of init."""
    lines, children = calls_of(runtime, verb)
    assert children, lines
    for child in children:
        first = next(line.split(maxsplit=1)[1] for line in lines if tracing.pid_of(line) == child)
        assert first.startswith(("execveat(", "execve(")), first


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_init_opens_no_library(runtime: Runtime, verb: str) -> None:
    """init is static: it opens no library, no locale, no user database of the host."""
    lines, children = calls_of(runtime, verb)
    inside = [line for line in lines if tracing.pid_of(line) in children]
    assert inside
    words = (".so", ".py", "locale", "nsswitch", "gconv", "/usr/")
    assert [line for line in inside if any(word in line for word in words)] == []


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_no_handler_is_installed(runtime: Runtime, verb: str) -> None:
    """Signals come by a descriptor. Python's module asks for each signal's handler when it is imported: 60 calls."""
    if "launcher: image" not in runtime.ok("--version", bare=True).out:
        pytest.skip("this runtime starts an interpreter, or is none, and sets up handlers before its verb")
    if verb == "run":
        bundle = runtime.bundle().args("/bin/true").save()
        words = ["run", "--bundle", str(bundle.path), runtime.container(bundle).id]
    else:
        words = ["exec", runtime.start(runtime.bundle().args("/bin/sleep", "100")).id, "/bin/true"]
    log = runtime.tmp / "calls"
    argv = ["strace", "-qq", "-e", "trace=rt_sigaction,signalfd4", "-o", str(log), str(runtime.command)]
    subprocess.run([*argv, "--root", str(runtime.root), *words], stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=True)
    calls = [line.partition("(")[0] for line in log.read_text().splitlines() if not line.startswith("---")]
    assert "signalfd4" in calls
    assert calls.count("rt_sigaction") <= 3, calls


def state_calls(runtime: Runtime, *words: str) -> list[str]:
    """What one call of the runtime's own process does with state.json, in its order."""
    log = runtime.tmp / "calls"
    argv = ["strace", "-qq", "-y", "-e", "trace=write,fsync,fdatasync,rename,renameat,renameat2", "-o", str(log)]
    argv += [str(runtime.command), "--root", str(runtime.root), *words]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=True)
    lines = [line for line in log.read_text().splitlines() if "/state.json.new" in line]
    return [line.partition("(")[0].replace("fdatasync", "fsync") for line in lines]


@pytest.mark.parametrize("joins", [False, True])
def test_state_is_on_disk_before_it_is_the_state(runtime: Runtime, joins: bool) -> None:
    """A machine that crashes finds the old state or the new one, whole (rename(2), fsync(2)).

    The first state, without a process, need not survive that. In a joined PID namespace there is one more, for init
    goes on in a child.
    """
    if runtime.kind != "pyoci":
        pytest.skip(f"how {runtime.kind} saves its state is its own affair")
    bundle = runtime.bundle()
    if joins:
        other = runtime.start(runtime.bundle())
        bundle.namespace("pid", f"/proc/{other.pid}/ns/pid")
    calls = state_calls(runtime, "create", "--bundle", str(bundle.save().path), runtime.container(bundle).id)
    durable = ["write", "fsync"]
    assert calls == ["write", "rename", *(durable * (2 if joins else 1)), "rename"]


def test_who_finds_the_pid_file_finds_a_created_container(runtime: Runtime) -> None:
    """The last state is in its place before the pid file is in its own."""
    if runtime.kind != "pyoci":
        pytest.skip(f"how {runtime.kind} saves its state is its own affair")
    bundle = runtime.bundle().save()
    log, pid_file = runtime.tmp / "calls", runtime.tmp / "pid-file"
    argv = ["strace", "-qq", "-e", "trace=rename", "-o", str(log), str(runtime.command), "--root", str(runtime.root)]
    words = ["create", "--pid-file", str(pid_file), "--bundle", str(bundle.path), runtime.container(bundle).id]
    subprocess.run([*argv, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=True)
    renamed = [line.split('"')[3] for line in log.read_text().splitlines() if line.startswith("rename")]
    assert renamed[-2:] == [f"{runtime.root}/{bundle.name}/state.json", str(pid_file)]
