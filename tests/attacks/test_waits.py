# SPDX-License-Identifier: Apache-2.0
"""No wait is without an end: whatever a filter, a FIFO, a hook or a listener does, a verb ends within its limit."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import inspection
from harness.bundle import Bundle, bind, mount
from harness.runtime import TIMEOUT, Result, Runtime, wait_until

FORBIDDEN = {"action": "SCMP_ACT_ERRNO", "errnoRet": 1}


def one_line_at_most(result: Result) -> None:
    assert len(result.err.splitlines()) <= 1, result
    assert "internal error" not in result.err, result


# --- FIFOs -----------------------------------------------------------------------------------------------------------


def fifo(path: Path) -> Path:
    """A FIFO in place of what may be at a path. Whoever opens it without care waits for the other side."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    path.chmod(0o755)
    return path


def test_log(runtime: Runtime) -> None:
    """Without a reader it is refused; with one that does not read, messages are lost, not the verb."""
    path = fifo(runtime.tmp / "log")
    assert str(path) in runtime.fails("--log", path, "state", "none")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for _ in range(3):
            runtime.fails("--log", path, "state", "none" * 200)
        for _ in range(20):
            runtime.fails("--log", path, "--debug", "--log-level=debug", "state", "x" * 200 + "/")
        assert b"none" in os.read(reader, 100)
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    "flags",
    [["--console-socket"], ["--pidfd-socket"], ["--pid-file"]],
    ids=["console", "pidfd", "pid-file"],
)
def test_places_that_the_caller_names(runtime: Runtime, flags: list[str]) -> None:
    """No socket where one is needed; a pid file is renamed over what is there."""
    path = fifo(runtime.tmp / "fifo")
    bundle = runtime.bundle()
    bundle.process["terminal"] = flags == ["--console-socket"]
    bundle.save()
    container = runtime.container(bundle)
    if flags == ["--pid-file"]:
        runtime.ok("create", *flags, path, "--bundle", bundle.path, container.id)
        assert path.is_file()
    else:
        assert str(path) in runtime.fails("create", *flags, path, "--bundle", bundle.path, container.id)
        runtime.assert_clean()


def test_bundle_and_root(runtime: Runtime) -> None:
    path = fifo(runtime.tmp / "fifo")
    bundle = runtime.bundle().save()
    runtime.fails("create", "--bundle", path, "none")
    runtime.fails("--root", path, "list", bare=True)
    runtime.fails("--root", path, "create", "--bundle", bundle.path, "none", bare=True)
    bundle.config["root"]["path"] = str(path)
    runtime.refuses(bundle)


@pytest.mark.parametrize("written", [b"", b"{"], ids=["silent", "begun"])
def test_documents(runtime: Runtime, written: bytes) -> None:
    """A document that somebody holds open, and does not finish, is not waited for without end."""
    container = runtime.start(runtime.bundle())
    bundle = runtime.bundle()
    for path, words in (
        (bundle.path / "config.json", ["create", "--bundle", str(bundle.path), "none"]),
        (runtime.tmp / "process", ["exec", "--process", str(runtime.tmp / "process"), container.id]),
    ):
        holder = os.open(fifo(path), os.O_RDWR)
        os.write(holder, written)
        try:
            assert str(path) in runtime.fails(*words)
        finally:
            os.close(holder)


def test_namespace(runtime: Runtime) -> None:
    path = fifo(runtime.tmp / "fifo")
    assert str(path) in runtime.refuses(runtime.bundle().namespace("network", str(path)))


@pytest.mark.parametrize("name", ["state.json", "seccomp.bpf", "init", "start.sock"])
def test_files_of_the_state(runtime: Runtime, name: str) -> None:
    """Root alone can put them there; every verb ends, and delete --force ends all."""
    if runtime.kind != "pyoci":
        pytest.skip(f"these are not the files of {runtime.kind}")
    bundle = runtime.bundle()
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], **FORBIDDEN}]}
    container = runtime.create(bundle)
    if name != "start.sock":
        container.start()
    fifo(runtime.root / container.id / name)
    calls = [["start", container.id], ["exec", container.id, "/bin/true"], ["state", container.id], ["list"]]
    for words in [*calls, ["kill", container.id, "TERM"]]:
        one_line_at_most(runtime.call(*words))
    if name == "seccomp.bpf":
        assert "seccomp.bpf" in runtime.fails("exec", container.id, "/bin/true")
    runtime.ok("delete", "--force", container.id)
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")


def fifo_as_program(bundle: Bundle) -> None:
    fifo(bundle.rootfs / "bin/true")


def fifo_as_interpreter(bundle: Bundle) -> None:
    (bundle.rootfs / "bin/true").unlink()
    (bundle.rootfs / "bin/true").write_text("#!/bin/f\n")
    (bundle.rootfs / "bin/true").chmod(0o755)
    fifo(bundle.rootfs / "bin/f")


def fifos_as_databases(bundle: Bundle) -> None:
    fifo(bundle.rootfs / "etc/passwd")
    fifo(bundle.rootfs / "etc/group")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}


def fifo_in_copied_directory(bundle: Bundle) -> None:
    fifo(bundle.rootfs / "work/fifo")
    bundle.mounts.append(mount("/work", "tmpfs", "tmpfs", "tmpcopyup"))


def fifos_masked(bundle: Bundle) -> None:
    bundle.linux["maskedPaths"] = [f"/work/{fifo(bundle.rootfs / 'work/masked').name}"]
    bundle.linux["readonlyPaths"] = [f"/work/{fifo(bundle.rootfs / 'work/readonly').name}"]


def fifo_bound(bundle: Bundle) -> None:
    source = fifo(bundle.path / "source")
    fifo(bundle.rootfs / "work/there")
    bundle.mounts.extend([bind(source, "/work/there"), bind(source, "/work/new")])


def fifos_in_dev(bundle: Bundle) -> None:
    bundle.config["mounts"] = [one for one in bundle.mounts if not one["destination"].startswith("/dev")]
    (bundle.rootfs / "dev/pts").mkdir()
    for name in ("null", "zero", "ptmx", "console", "tty", "pts/ptmx"):
        fifo(bundle.rootfs / "dev" / name)


def fifo_as_ptmx(bundle: Bundle) -> None:
    """Only /dev/pts is the image's, so its ptmx is what the terminal would come from."""
    bundle.config["mounts"] = [one for one in bundle.mounts if one["destination"] != "/dev/pts"]
    bundle.hook("createContainer", f"mkdir -p {bundle.rootfs}/dev/pts; mkfifo {bundle.rootfs}/dev/pts/ptmx")
    bundle.process["terminal"] = True


IMAGES: dict[str, tuple[Callable[[Bundle], None], bool]] = {
    "program": (fifo_as_program, False),
    "interpreter": (fifo_as_interpreter, False),
    "passwd and group": (fifos_as_databases, True),
    "copied directory": (fifo_in_copied_directory, True),
    "masked paths": (fifos_masked, True),
    "bind": (fifo_bound, True),
    "dev": (fifos_in_dev, False),
    "ptmx": (fifo_as_ptmx, False),
}


@pytest.mark.parametrize("name", IMAGES)
def test_image(runtime: Runtime, name: str) -> None:
    make, works = IMAGES[name]
    bundle = runtime.bundle().args("/bin/true")
    make(bundle)
    result = runtime.run(bundle)
    assert (result.code == 0) == works, result
    one_line_at_most(result)
    runtime.assert_clean()


# --- listeners, hooks, locks -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def deaf(path: Path) -> Iterator[Path]:
    """A listening socket whose queue is full, and whose owner accepts nobody: connect(2) waits."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(100):
            one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            one.setblocking(False)
            try:
                one.connect(str(path))
            except BlockingIOError:
                break
        else:
            raise AssertionError("the queue does not fill")
        yield path


def test_listener_that_accepts_nobody(runtime: Runtime) -> None:
    """create, run and exec wait for it as long as they say, all at the same time here."""
    container = runtime.start(runtime.bundle())
    with deaf(runtime.tmp / "deaf") as path:
        begun = []
        for verb, flag in itertools.product(("create", "run", "exec"), ("--console-socket", "--pidfd-socket")):
            if verb == "exec":
                tty = ["--tty"] if flag == "--console-socket" else []
                words = [*tty, "--detach", flag, str(path), container.id, "/bin/true"]
            else:
                bundle = runtime.bundle()
                bundle.process["terminal"] = flag == "--console-socket"
                detach = ["--detach"] if verb == "run" else []
                words = [*detach, flag, str(path), "--bundle", str(bundle.save().path), runtime.container(bundle).id]
            begun.append((flag, *runtime.popen(verb, *words)))
        for flag, child, result in begun:
            assert runtime.finish(child, result, 20).code == 1, result
            assert flag in result.err
            assert "accepts nobody (waited 10 s)" in result.err or runtime.kind != "pyoci", result
    container.end()
    container.delete()
    runtime.assert_clean()


@pytest.mark.parametrize("flag", ["--console-socket", "--pidfd-socket"])
def test_listener_that_reads_nothing(runtime: Runtime, flag: str) -> None:
    """What is sent lies in the socket."""
    bundle = runtime.bundle()
    bundle.process["terminal"] = flag == "--console-socket"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(str(runtime.tmp / "mute"))
        listener.listen(1)
        container = runtime.create(bundle, flag, runtime.tmp / "mute")
        container.start()
        assert container.state()["status"] == "running"


STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def end_sleepers(seconds: str) -> int:
    """Kills the processes of the host whose last word is this; returns how many there were."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes().split(b"\0")[-2:] == [seconds.encode(), b""]:
                os.kill(int(entry.name), 9)
                found += 1
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_child_of_a_hook_that_holds_its_output(runtime: Runtime, stage: str) -> None:
    """A hook is over when its process is; a daemon that it leaves has a copy of its output, and is left alone."""
    seconds = f"{os.getpid()}{runtime.number()}0"
    bundle = runtime.bundle().args("/bin/true").hook(stage, f"sleep {seconds} & exit 0")
    begin = time.monotonic()
    result = runtime.run(bundle, timeout=TIMEOUT)
    took = time.monotonic() - begin
    if stage in ("createContainer", "startContainer"):  # in the container's PID namespace it ends with the program
        assert not end_sleepers(seconds)
    else:
        wait_until(lambda: end_sleepers(seconds), "the child")  # it may still be the shell that becomes it
        wait_until(lambda: not end_sleepers(seconds), "the end of the child")
    assert result.code == 0, result
    assert took < 5


@pytest.mark.parametrize("stage", STAGES)
def test_hook_that_stops_itself(runtime: Runtime, stage: str) -> None:
    bundle = runtime.bundle().hook(stage, "kill -STOP $$", timeout=1)
    container = runtime.container(bundle.save())
    calls = [["create", "--bundle", str(bundle.path), container.id], ["start", container.id]]
    results = [runtime.call(*words) for words in calls]
    results.append(runtime.call("delete", "--force", container.id))
    assert any(stage in result.err for result in results), results


def test_lock_that_is_held(runtime: Runtime) -> None:
    """By a create that stands still, say: delete waits for it, and tells."""
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} has no such lock")
    container = runtime.start(runtime.bundle())
    holder = os.open(runtime.root / container.id, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        for words in (["state", container.id], ["list"], ["exec", container.id, "/bin/true"], ["kill", container.id]):
            runtime.ok(*words)
        assert "still being created" in runtime.fails("delete", "--force", container.id)
    finally:
        os.close(holder)
