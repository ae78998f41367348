# SPDX-License-Identifier: Apache-2.0
"""create, start, state, kill, delete: the states of the runtime specification and the refusals between them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from harness import inspection
from harness.runtime import Runtime, wait_until

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone

BAD_IDS = {
    "empty": "",
    "dot": ".",
    "dotdot": "..",
    "slash": "a/b",
    "parent": "../x",
    "newline": "a\nb",
    "long": "i" * 300,
}
VERBS = ("create", "start", "state", "kill", "delete", "delete-force", "exec", "run")


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """Two busy processes for each CPU; this process alone need not wait for them."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(2))
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        for one in busy:
            one.kill()
            one.wait()


def test_start_ends_when_the_program_begins(runtime: Runtime) -> None:
    """Also on a busy machine: what an engine does after start, as registering for OOM events, must not come late."""
    bundle = runtime.bundle().sh("echo up > /fifo; sleep 100")
    os.mkfifo(bundle.rootfs / "fifo")
    fifo = os.open(bundle.rootfs / "fifo", os.O_RDWR | os.O_NONBLOCK)
    late = []
    try:
        with busy_machine():
            for _ in range(9):
                container = runtime.create(bundle)
                child, result = runtime.popen("start", container.id)
                pidfd = os.pidfd_open(child.pid)
                ended, began = when_readable(pidfd, fifo)
                os.close(pidfd)
                late.append(ended - began)
                assert runtime.finish(child, result).code == 0
                os.read(fifo, 100)
                runtime.ok("delete", "--force", container.id)
    finally:
        os.close(fifo)
    assert sorted(late)[4] < 0.001, late


def when_readable(*descriptors: int) -> list[float]:
    """The moments at which they become readable, or at which their processes end."""
    found: dict[int, float] = {}
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while len(found) < len(descriptors):
        ready = poll.poll(10000)
        assert ready, "nothing happens"
        for descriptor, _ in ready:
            found[descriptor] = time.monotonic()
            poll.unregister(descriptor)
    return [found[descriptor] for descriptor in descriptors]


def test_bundle_at_a_path_that_is_not_utf8(runtime: Runtime) -> None:
    """File names are bytes: every verb goes on with what create remembered, and hooks get it as it is."""
    bundle = runtime.bundle().args("/bin/sleep", "100")
    for stage in ("createRuntime", "startContainer", "poststart"):
        bundle.hook(stage, f"cat > {'/' if stage == 'startContainer' else runtime.tmp}/{stage}")
    path = runtime.tmp / os.fsdecode(b"not \xff UTF-8")
    bundle.save().path.rename(path)
    container = runtime.container(bundle)
    runtime.ok("create", "--bundle", path, container.id)
    assert json.loads(runtime.ok("state", container.id).out)["bundle"].startswith(f"{runtime.tmp}/not ")
    runtime.ok("start", container.id)
    for stage in ("createRuntime", "startContainer", "poststart"):
        seen = (path / "rootfs" if stage == "startContainer" else runtime.tmp) / stage
        assert b"UTF-8" in seen.read_bytes()
    assert runtime.ok("exec", container.id, "/bin/echo", "hello").out == "hello\n"
    assert container.id in runtime.ok("list", "-q").out
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


def test_states_from_create_to_delete(runtime: Runtime, state_schema: jsonschema.protocols.Validator) -> None:
    bundle = runtime.bundle().sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    bundle.config["annotations"] = {"org.example.key": "value"}
    container = runtime.create(bundle)
    state = container.state()
    state_schema.validate(state)
    assert state["status"] == "created"
    assert state["id"] == container.id
    assert state["pid"] == container.pid
    assert inspection.alive(container.pid)
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example.key": "value"}
    assert container.output == ""
    container.start()
    container.wait_for("up")
    state = container.state()
    state_schema.validate(state)
    assert (state["status"], state["pid"]) == ("running", container.pid)
    container.kill("TERM")
    assert container.wait() == 7
    state = container.state()
    state_schema.validate(state)
    assert (state["status"], state.get("pid", 0)) == ("stopped", 0)
    container.delete()
    assert "does not exist" in runtime.fails("state", container.id)
    runtime.assert_clean()


def test_created_can_be_killed(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    container.end()
    assert container.state()["status"] == "stopped"
    container.delete()


def test_kill_of_created_leaves_no_process(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    container.kill("KILL")
    wait_until(lambda: not inspection.alive(container.pid), "the end of init")


def test_program_runs_only_after_start(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo ran > /work/marker")
    container = runtime.create(bundle)
    assert not (bundle.rootfs / "work/marker").exists()
    container.start()
    assert container.wait() == 0
    assert (bundle.rootfs / "work/marker").read_text() == "ran\n"


def test_start_twice(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    runtime.fails("start", container.id)
    assert container.state()["status"] == "running"


def test_start_stopped(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().args("/bin/true"))
    container.wait()
    runtime.fails("start", container.id)
    assert container.state()["status"] == "stopped"


def test_delete_running(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    runtime.fails("delete", container.id)
    assert container.state()["status"] == "running"
    assert inspection.alive(container.pid)


def test_delete_created(runtime: Runtime) -> None:
    """The specification wants an error for a container that is not stopped; crun and runc delete a created one."""
    container = runtime.create(runtime.bundle())
    result = runtime.call("delete", container.id)
    assert result.code == 0, result
    runtime.assert_clean()


def test_delete_force_running(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    runtime.ok("delete", "--force", container.id)
    assert not inspection.alive(container.pid)
    runtime.assert_clean()


def test_delete_force_unknown(runtime: Runtime) -> None:
    runtime.ok("delete", "--force", f"{runtime.prefix}-none")


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete", "exec"])
def test_unknown_id(runtime: Runtime, verb: str) -> None:
    more = {"kill": ["KILL"], "exec": ["/bin/true"]}.get(verb, [])
    assert "does not exist" in runtime.fails(verb, f"{runtime.prefix}-none", *more)


def test_kill_stopped(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().args("/bin/true"))
    container.wait()
    assert "container not running" in runtime.fails("kill", container.id, "TERM")


def test_kill_all_stopped_is_success(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().args("/bin/true"))
    container.wait()
    runtime.ok("kill", "--all", container.id, "KILL")


def test_duplicate_id(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    other = runtime.bundle().save()
    assert "already exists" in runtime.fails("create", "--bundle", other.path, container.id)
    assert container.state()["bundle"] == str(container.bundle.path)
    assert inspection.alive(container.pid)


def test_id_can_be_used_again(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/true")
    for _ in range(2):
        container = runtime.start(bundle)
        container.wait()
        container.delete()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", BAD_IDS)
def test_bad_id(runtime: Runtime, verb: str, name: str) -> None:
    """No verb takes an ID that could become another directory; even delete --force refuses it."""
    bundle = runtime.bundle().args("/bin/true").save()
    canary = runtime.tmp / "x"
    canary.write_text("canary")
    flags = {"create": ["--bundle", bundle.path], "run": ["--bundle", bundle.path], "delete-force": ["--force"]}.get(
        verb, []
    )
    more = {"kill": ["KILL"], "exec": ["/bin/true"]}.get(verb, [])
    runtime.fails(verb.partition("-")[0], *flags, "--", BAD_IDS[name], *more)
    assert canary.read_text() == "canary"
    assert bundle.rootfs.is_dir()
    runtime.assert_clean()


@pytest.mark.parametrize("name", ["a", "A-b_c.d+e", "0123456789abcdef" * 4])
def test_good_id(runtime: Runtime, name: str) -> None:
    bundle = runtime.bundle().args("/bin/true").save()
    bundle.linux["cgroupsPath"] = f"/{runtime.prefix}-id"
    bundle.save()
    container = runtime.container(bundle, name)
    runtime.ok("create", "--bundle", bundle.path, name)
    assert container.state()["id"] == name
    runtime.ok("delete", "--force", name)


def test_bundle_is_the_working_directory_by_default(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/echo", "hi").save()
    runtime.container(bundle)
    assert runtime.ok("run", bundle.name, cwd=bundle.path).out == "hi\n"


def test_relative_bundle(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    container = runtime.container(bundle)
    runtime.ok("create", "--bundle", bundle.name, container.id, cwd=runtime.tmp)
    assert container.state()["bundle"] == str(bundle.path)


def test_missing_bundle(runtime: Runtime) -> None:
    runtime.fails("create", "--bundle", runtime.tmp / "none", f"{runtime.prefix}-a")
    runtime.assert_clean()


def test_missing_config(runtime: Runtime) -> None:
    assert "config.json" in runtime.fails("create", "--bundle", runtime.bundle().path, f"{runtime.prefix}-a")
    runtime.assert_clean()


def test_missing_rootfs(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.config["root"]["path"] = "none"
    runtime.refuses(bundle)


def test_pid_file_is_a_decimal_without_newline(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    assert (container.bundle.path / "pid").read_bytes() == str(container.pid).encode()
    assert container.pid == container.state()["pid"]


def test_relative_pid_file_is_below_the_working_directory(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    runtime.container(bundle)
    (runtime.tmp / "elsewhere").mkdir()
    runtime.ok("create", "--bundle", bundle.path, "--pid-file", "pid", bundle.name, cwd=runtime.tmp / "elsewhere")
    assert int((runtime.tmp / "elsewhere/pid").read_text()) > 1


def test_failed_create_writes_no_pid_file(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/none")
    runtime.refuses(bundle, "--pid-file", runtime.tmp / "pid")
    assert not (runtime.tmp / "pid").exists()


def test_init_is_orphaned_to_the_subreaper(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    assert inspection.status(container.pid)["PPid"] == str(os.getpid())


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137)])
def test_run_gives_the_exit_status(runtime: Runtime, script: str, code: int) -> None:
    bundle = runtime.bundle().sh(script).drop_namespace("pid")  # PID 1 does not die of its own signals
    assert runtime.run(bundle).code == code


def test_run_detached(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    container = runtime.container(bundle)
    runtime.ok("run", "--detach", "--bundle", bundle.path, "--pid-file", runtime.tmp / "pid", container.id)
    container.pid = int((runtime.tmp / "pid").read_text())
    assert container.state()["status"] == "running"
    container.end()


def test_run_in_the_foreground_deletes(runtime: Runtime) -> None:
    assert runtime.run(runtime.bundle().args("/bin/true")).code == 0
    runtime.assert_clean()


def test_run_forwards_signals(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done").save()
    runtime.container(bundle)
    child, result = runtime.popen("run", "--bundle", bundle.path, bundle.name)
    wait_until(lambda: "up" in result.out, "the program")
    child.terminate()
    assert runtime.finish(child, result).code == 9


def test_standard_streams_pass_through(runtime: Runtime, tmp_path: Path) -> None:
    bundle = runtime.bundle().sh("cat; echo err >&2")
    (tmp_path / "in").write_text("in\n")
    with open(tmp_path / "in", "rb") as stdin:
        result = runtime.run(bundle, stdin=stdin)
    assert (result.out, result.err) == ("in\n", "err\n")


def test_state_is_one_json_document(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    text = runtime.ok("state", container.id).out
    assert {"ociVersion", "id", "status", "pid", "bundle"} <= set(json.loads(text))


def test_list(runtime: Runtime) -> None:
    first, second = runtime.create(runtime.bundle()), runtime.start(runtime.bundle())
    assert set(runtime.ok("list", "-q").out.split()) == {first.id, second.id}
    found = {entry["id"]: entry for entry in json.loads(runtime.ok("list", "--format", "json").out)}
    assert {name: entry["status"] for name, entry in found.items()} == {first.id: "created", second.id: "running"}
    assert found[second.id]["pid"] == second.pid
    assert found[second.id]["bundle"] == str(second.bundle.path)
    lines = runtime.ok("list").out.splitlines()
    assert lines[0].split()[:2] == ["ID", "PID"] or lines[0].split()[:2] == ["NAME", "PID"]
    assert {line.split()[0] for line in lines[1:]} == {first.id, second.id}


def test_list_of_nothing(runtime: Runtime) -> None:
    assert runtime.ok("list", "-q").out.strip() == ""
    assert json.loads(runtime.ok("list", "--format", "json").out) in ([], None)


def test_list_format_unknown(runtime: Runtime) -> None:
    runtime.fails("list", "--format", "yaml")
