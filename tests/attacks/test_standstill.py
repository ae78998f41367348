# SPDX-License-Identifier: Apache-2.0
"""A container that stands still, frozen or stopped, holds up nobody: no verb of its own for ever, none of others."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import host, inspection
from harness.runtime import Container, Runtime, wait_until

HOLD = Callable[[Container], contextlib.AbstractContextManager[None]]


def switch(path: str) -> tuple[Path, str, str]:
    """The file that freezes a group, and what freezes and thaws it there."""
    if host.unified():
        return host.CGROUP_ROOT / path / "cgroup.freeze", "1", "0"
    return host.CGROUP_ROOT / "freezer" / path / "freezer.state", "FROZEN", "THAWED"


@contextlib.contextmanager
def frozen(container: Container) -> Iterator[None]:
    file, on, off = switch(container.bundle.linux["cgroupsPath"].lstrip("/"))
    file.write_text(on)
    try:
        yield
    finally:
        if file.exists():
            file.write_text(off)


@contextlib.contextmanager
def frozen_above(container: Container) -> Iterator[None]:
    """The group above it stands still, as when an engine pauses a pod."""
    file, on, off = switch(os.path.dirname(container.bundle.linux["cgroupsPath"]).lstrip("/"))
    file.write_text(on)
    try:
        yield
    finally:
        file.write_text(off)


@contextlib.contextmanager
def stopped(container: Container) -> Iterator[None]:
    os.kill(container.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(container.pid, signal.SIGCONT)


HOLDS: dict[str, HOLD] = {"frozen": frozen, "frozen above": frozen_above, "stopped": stopped}
REASONS = {"frozen": "is frozen", "frozen above": "is frozen", "stopped": "is stopped"}


@pytest.fixture(name="parent")
def parent_group(runtime: Runtime) -> Iterator[str]:
    """A group for containers, in all hierarchies, which is removed after them."""
    name = f"standstill-{os.getpid()}"
    yield name
    places = [host.CGROUP_ROOT / name] if host.unified() else host.CGROUP_ROOT.glob(f"*/{name}")
    for place in places:
        wait_until(lambda place=place: remove(place), f"the end of {place}")


def remove(place: Path) -> bool:
    with contextlib.suppress(OSError):
        for below in place.glob("*/"):
            below.rmdir()
        place.rmdir()
    return not place.exists()


def created(runtime: Runtime, parent: str) -> Container:
    bundle = runtime.bundle()
    bundle.linux["cgroupsPath"] = f"/{parent}/{bundle.name}"
    return runtime.create(bundle)


@pytest.mark.parametrize("hold", HOLDS)
def test_start(runtime: Runtime, parent: str, hold: str) -> None:
    """It fails, and says for whom it waited; nothing is lost: a later start starts the program."""
    container = created(runtime, parent)
    with HOLDS[hold](container):
        begin = time.monotonic()
        error = runtime.fails("start", container.id)
        assert 4 < time.monotonic() - begin < 14
        assert REASONS[hold] in error
        assert container.state()["status"] in ("created", "paused")
    container.start()
    wait_until(lambda: b"sleep" in Path(f"/proc/{container.pid}/cmdline").read_bytes(), "the program")
    assert container.state()["status"] == "running"
    container.end()
    container.delete()


@pytest.mark.parametrize("hold", HOLDS)
def test_start_goes_on_when_init_does(runtime: Runtime, parent: str, hold: str) -> None:
    container = created(runtime, parent)
    with HOLDS[hold](container):
        child, result = runtime.popen("start", container.id)
        time.sleep(1.5)
        assert child.poll() is None
    assert runtime.finish(child, result).code == 0, result
    container.end()
    container.delete()


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("started", [False, True], ids=["created", "running"])
def test_delete(runtime: Runtime, parent: str, hold: str, started: bool) -> None:
    container = created(runtime, parent)
    if started:
        container.start()
    with HOLDS[hold](container):
        begin = time.monotonic()
        runtime.ok("delete", "--force", container.id)
        assert time.monotonic() - begin < 5
        wait_until(lambda: not inspection.alive(container.pid), "the end of init")


@pytest.mark.parametrize("hold", HOLDS)
def test_kill(runtime: Runtime, parent: str, hold: str) -> None:
    """SIGKILL ends it, frozen or not; another signal waits until it runs again."""
    container = created(runtime, parent)
    container.start()
    with HOLDS[hold](container):
        runtime.ok("kill", container.id, "WINCH")
        begin = time.monotonic()
        runtime.ok("kill", container.id, "KILL")
        wait_until(lambda: not inspection.alive(container.pid), "the end of init")
        assert time.monotonic() - begin < 5
    container.wait()
    container.delete()


@pytest.mark.parametrize("hold", ["frozen", "frozen above"])
def test_exec(runtime: Runtime, parent: str, hold: str) -> None:
    """Into a frozen group it is refused; by --ignore-paused it is tried, and ends too."""
    container = created(runtime, parent)
    container.start()
    with HOLDS[hold](container):
        if hold == "frozen":
            assert "paused" in runtime.fails("exec", container.id, "/bin/true")
        begin = time.monotonic()
        error = runtime.fails("exec", "--ignore-paused", container.id, "/bin/true")
        assert time.monotonic() - begin < 14
        assert "is frozen" in error
    container.end()
    container.delete()


def test_exec_into_a_stopped_container(runtime: Runtime, parent: str) -> None:
    """Its first process stands still; others run."""
    container = created(runtime, parent)
    container.start()
    with stopped(container):
        assert container.sh("echo here") == "here\n"
    container.end()
    container.delete()


@pytest.mark.parametrize("hold", HOLDS)
def test_others(runtime: Runtime, parent: str, hold: str) -> None:
    """Containers beside it, and what is asked about it, do not notice."""
    held = created(runtime, parent)
    held.start()
    other = runtime.start(runtime.bundle())
    with HOLDS[hold](held):
        begin = time.monotonic()
        assert held.id in runtime.ok("list").out
        assert held.state()["pid"] == held.pid
        assert other.sh("echo here") == "here\n"
        with runtime.start(runtime.bundle()):
            pass
        other.end()
        other.delete()
        assert runtime.run(runtime.bundle().args("/bin/true")).code == 0
        assert time.monotonic() - begin < 4
    held.end()
    held.delete()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_create_below_a_frozen_group(runtime: Runtime, parent: str, verb: str) -> None:
    first = created(runtime, parent)
    with frozen_above(first):
        bundle = runtime.bundle()
        bundle.linux["cgroupsPath"] = f"/{parent}/{bundle.name}"
        begin = time.monotonic()
        bundle.save()
        error = runtime.fails(verb, "--bundle", bundle.path, runtime.container(bundle).id)
        assert time.monotonic() - begin < 4
        assert "frozen" in error
        assert not (runtime.root / bundle.name).exists()
    first.end()
    first.delete()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_init_that_is_stopped_while_it_is_made(runtime: Runtime, verb: str) -> None:
    """By somebody who sees it, in a PID namespace that it joins, or on the host."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.hook("createRuntime", 'read state; pid=${state##*pid\\":}; pid=${pid%%,*}; kill -STOP $pid')
    bundle.save()
    begin = time.monotonic()
    error = runtime.fails(verb, "--bundle", bundle.path, runtime.container(bundle).id)
    assert time.monotonic() - begin < 14
    assert "is stopped" in error
    runtime.assert_clean()
