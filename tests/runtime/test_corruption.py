# SPDX-License-Identifier: Apache-2.0
"""A state file that was damaged, or that speaks of another process: nobody is harmed, and it can be removed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from harness import inspection, leaks
from harness.runtime import Container, Runtime, stranger, wait_until

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone

STATE_FILES = {"pyoci": "state.json", "runc": "state.json", "crun": "status"}
DAMAGES = {
    "empty": "",
    "half": None,
    "null": "null",
    "number": "7",
    "list": "[]",
    "map": "{}",
    "not utf-8": "\udcff",
    "wrong types": '{"id": 1, "pid": "x", "init_process_pid": "x", "bundle": [], "status": 7}',
}


def state_file(runtime: Runtime, container: Container) -> Path:
    return runtime.root / container.id / STATE_FILES[runtime.kind]


def damage(runtime: Runtime, container: Container, name: str) -> None:
    path = state_file(runtime, container)
    text = DAMAGES[name]
    whole = path.read_text()
    path.write_bytes((whole[: len(whole) // 2] if text is None else text).encode(errors="surrogateescape"))


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_state(runtime: Runtime, name: str) -> None:
    """list shows the others, delete --force ends what the container was, and each call says what it means."""
    container, other = runtime.start(runtime.bundle()), runtime.start(runtime.bundle())
    damage(runtime, container, name)
    assert other.id in runtime.ok("list", "-q").out.split()
    runtime.ok("list")
    assert other.id in runtime.ok("list", "--format", "json").out
    runtime.fails("state", container.id)
    runtime.fails("start", container.id)
    runtime.fails("kill", container.id, "KILL")
    runtime.ok("delete", "--force", container.id)
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")
    assert not (runtime.root / container.id).exists()
    assert inspection.alive(other.pid)


@pytest.mark.parametrize("shared", [False, True], ids=["own PID namespace", "joined PID namespace"])
def test_damaged_state_without_a_cgroup(runtime: Runtime, shared: bool) -> None:
    """Only the link `init` tells then whom to end: it names the process that goes on, not the joiner before it."""
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} needs the cgroup, or the whole state")
    bundle = runtime.bundle()
    del bundle.linux["resources"]
    if shared:
        other = runtime.start(runtime.bundle())
        bundle.namespace("pid", f"/proc/{other.pid}/ns/pid")
    bundle.save()
    container = runtime.container(bundle)
    pid_file = bundle.path / "pid"
    runtime.ok("--cgroup-manager=disabled", "create", "--bundle", bundle.path, "--pid-file", pid_file, container.id)
    container.pid = int(pid_file.read_text())
    damage(runtime, container, "half")
    runtime.ok("delete", "--force", container.id)
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")
    assert not (runtime.root / container.id).exists()


def test_state_with_the_cgroup_of_another(runtime: Runtime) -> None:
    """Valid JSON that names another cgroup: delete --force removes the right one, which the link `init` names, and
    leaves the other container in peace."""
    container, other = runtime.start(runtime.bundle()), runtime.start(runtime.bundle())
    for changed in ("cgroup", "cgroup_paths", "cgroup_path"):
        document = json.loads(state_file(runtime, other).read_text())
        if changed in document:
            edited(runtime, container, **{changed: document[changed]})
    if runtime.kind == "pyoci":
        assert "damaged" in runtime.fails("delete", container.id)
    runtime.ok("delete", "--force", container.id)
    assert inspection.alive(other.pid)
    assert not inspection.alive(container.pid)
    assert not leaks.control_groups(container.id)


@pytest.mark.parametrize("value", [2**70, -1, 2**31], ids=["too large for the kernel", "negative", "2^31"])
def test_state_with_a_pid_that_is_none(runtime: Runtime, value: int) -> None:
    container = runtime.start(runtime.bundle())
    edited(runtime, container, **{pid_key(runtime): value})
    assert "internal error" not in runtime.fails("state", container.id)
    runtime.ok("delete", "--force", container.id)
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")
    runtime.assert_clean()


def test_state_of_another_id(runtime: Runtime) -> None:
    container, other = runtime.start(runtime.bundle()), runtime.start(runtime.bundle())
    state_file(runtime, container).write_bytes(state_file(runtime, other).read_bytes())
    runtime.ok("delete", "--force", container.id)
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")
    assert inspection.alive(other.pid)


def test_state_with_hooks_that_are_none(runtime: Runtime) -> None:
    bundle = runtime.bundle().hook("poststop", "true")
    container = runtime.start(bundle)
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} keeps its hooks in another form")
    edited(runtime, container, hooks={"poststop": [7]})
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


def test_directory_in_the_state_directory(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    below = runtime.root / container.id / "below" / "further"
    below.mkdir(parents=True)
    (below / "file").write_text("x")
    (below / "link").symlink_to(runtime.tmp)
    runtime.ok("delete", "--force", container.id)
    assert runtime.tmp.exists()
    runtime.assert_clean()


def test_symlink_in_the_place_of_the_state_directory(runtime: Runtime) -> None:
    """No verb follows it: delete --force removes the link, and nothing of what it leads to."""
    container = runtime.start(runtime.bundle())
    target = runtime.tmp / "target"
    target.mkdir()
    (target / "precious").write_text("x")
    (runtime.root / "link").symlink_to(target)
    (runtime.root / "alias").symlink_to(runtime.root / container.id)
    for name in ("link", "alias"):
        for verb in (["state", name], ["start", name], ["kill", name, "KILL"], ["exec", name, "/bin/true"]):
            runtime.fails(*verb)
        runtime.fails("delete", name)
        runtime.fails("create", "--bundle", container.bundle.path, name)
        runtime.call("delete", "--force", name)
        assert not (runtime.root / name).is_symlink()
    assert (target / "precious").read_text() == "x"
    assert container.state()["status"] == "running"
    assert container.exec("/bin/true").code == 0


@pytest.mark.parametrize("name", ["state.json", "start.sock"])
def test_symlink_in_the_state_directory(runtime: Runtime, name: str) -> None:
    """Each is made by a container itself; one that leads to another's is not followed."""
    if runtime.kind != "pyoci":
        pytest.skip(f"the files of {runtime.kind} have other names")
    container, other = runtime.create(runtime.bundle()), runtime.create(runtime.bundle())
    path = runtime.root / container.id / name
    path.unlink()
    path.symlink_to(runtime.root / other.id / name)
    runtime.fails("start", container.id)
    assert other.state()["status"] == "created"
    runtime.ok("delete", "--force", container.id)
    assert other.state()["status"] == "created"


def test_empty_directory(runtime: Runtime) -> None:
    (runtime.root / f"{runtime.prefix}-dir").mkdir(parents=True)
    runtime.ok("list")
    runtime.ok("delete", "--force", f"{runtime.prefix}-dir")
    runtime.assert_clean()


def test_stray_file_in_the_root(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    (runtime.root / "stray").write_text("x")
    assert container.id in runtime.ok("list", "-q").out.split()
    (runtime.root / "stray").unlink()


def edited(runtime: Runtime, container: Container, **changes: Any) -> None:
    """Changes top-level members of the state file."""
    path = state_file(runtime, container)
    document = json.loads(path.read_text())
    assert set(changes) <= set(document), sorted(document)
    document.update(changes)
    path.write_text(json.dumps(document))


def pid_key(runtime: Runtime) -> str:
    return "init_process_pid" if runtime.kind == "runc" else "pid"


def test_reused_pid(runtime: Runtime) -> None:
    """The PID belongs to a stranger now, which began at another time: stopped, and it is never signalled."""
    container = runtime.start(runtime.bundle())
    time.sleep(0.03)  # start times count in ticks of 10 ms
    with stranger() as other:
        container.end()
        edited(runtime, container, **{pid_key(runtime): other.pid})
        assert container.state()["status"] == "stopped"
        runtime.call("kill", container.id, "KILL")
        runtime.call("kill", "--all", container.id, "KILL")
        runtime.ok("delete", "--force", container.id)
        assert inspection.alive(other.pid)


def test_other_boot(runtime: Runtime) -> None:
    """Same PID, same start time, but before a reboot: only the boot's identity tells the stranger."""
    if runtime.kind != "pyoci":
        pytest.skip(f"the state of {runtime.kind} has no boot identity to change")
    container = runtime.start(runtime.bundle())
    path = state_file(runtime, container)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    whole = path.read_text()
    assert boot in whole
    path.write_text(whole.replace(boot, "00000000-0000-0000-0000-000000000000"))
    assert container.state()["status"] == "stopped"
    runtime.call("kill", container.id, "KILL")
    assert inspection.alive(container.pid)
    path.write_text(whole)
    assert container.state()["status"] == "running"


def test_state_file_is_whole_at_any_time(runtime: Runtime) -> None:
    """A reader never sees half a file: it is written beside and renamed."""
    bundle = runtime.bundle().save()
    container = runtime.container(bundle)
    child, result = runtime.popen("create", "--bundle", bundle.path, container.id)
    while child.poll() is None:
        path = state_file(runtime, container)
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue
        json.loads(text)
    assert runtime.finish(child, result).code == 0
