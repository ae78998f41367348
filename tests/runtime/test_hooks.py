# SPDX-License-Identifier: Apache-2.0
"""The six kinds of hooks: when they run, where, with what, and what their failure does."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import jsonschema
import pytest
from harness import inspection
from harness.bundle import Bundle
from harness.runtime import Runtime, wait_until

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
AT_CREATE = ("prestart", "createRuntime", "createContainer")
IN_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")


def recorder(bundle: Bundle, stage: str, script: str = "") -> None:
    """A hook that appends its stage to a journal; startContainer's is inside the container."""
    journal = "/journal" if stage == "startContainer" else bundle.rootfs / "journal"
    bundle.hook(stage, f"echo {stage} >> {journal}; {script}")


def journal(bundle: Bundle) -> list[str]:
    path = bundle.rootfs / "journal"
    return path.read_text().split() if path.exists() else []


def test_order(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo program >> /journal; sleep 100")
    for stage in reversed(STAGES):
        recorder(bundle, stage)
    container = runtime.create(bundle)
    assert journal(bundle) == ["prestart", "createRuntime", "createContainer"]
    container.start()
    wait_until(lambda: "program" in journal(bundle) and "poststart" in journal(bundle), "the program")
    found = journal(bundle)
    assert found.index("startContainer") < found.index("program")
    assert found.index("startContainer") < found.index("poststart")
    container.end()
    container.delete()
    assert journal(bundle)[-1] == "poststop"
    assert sorted(journal(bundle)) == sorted([*STAGES, "program"])


def test_hooks_of_a_stage_in_their_order(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    for number in range(4):
        bundle.hook("createRuntime", f"echo {number} >> {bundle.rootfs}/journal")
    runtime.create(bundle)
    assert journal(bundle) == ["0", "1", "2", "3"]


def test_poststop_with_delete_force(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    recorder(bundle, "poststop")
    container = runtime.start(bundle)
    runtime.ok("delete", "--force", container.id)
    assert journal(bundle) == ["poststop"]


def test_all_with_run(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/true")
    for stage in STAGES:
        recorder(bundle, stage)
    assert runtime.run(bundle).code == 0
    assert sorted(journal(bundle)) == sorted(STAGES)


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ],
)
def test_state_on_stdin(
    runtime: Runtime, state_schema: jsonschema.protocols.Validator, stage: str, status: str
) -> None:
    bundle = runtime.bundle().args("/bin/sleep", "100")
    bundle.config["annotations"] = {"org.example.key": "value"}
    bundle.hook(stage, f"cat > {'/state' if stage == 'startContainer' else bundle.rootfs / 'state'}")
    container = runtime.start(bundle)
    path = bundle.rootfs / "state"
    if stage == "poststop":
        runtime.ok("delete", "--force", container.id)
    wait_until(path.exists, "the hook")
    wait_until(lambda: path.read_text().strip().endswith("}"), "the state")
    state = json.loads(path.read_text())
    state_schema.validate(state)
    assert state["id"] == container.id
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example.key": "value"}
    assert state["status"] == status
    if stage in IN_RUNTIME and stage != "poststop":
        assert state["pid"] == container.pid


@pytest.mark.parametrize("stage", STAGES)
def test_namespaces(runtime: Runtime, stage: str) -> None:
    """createContainer and startContainer hooks run in the container's, the others in the runtime's."""
    bundle = runtime.bundle().args("/bin/sleep", "100")
    target = "/ns" if stage == "startContainer" else bundle.rootfs / "ns"
    bundle.hook(
        stage, f"for n in mnt net uts ipc; do readlink /proc/self/ns/$n; done > {target}.new; mv {target}.new {target}"
    )
    container = runtime.start(bundle)
    inside = inspection.namespaces(container.pid)
    outside = inspection.namespaces(os.getpid())
    if stage == "poststop":
        runtime.ok("delete", "--force", container.id)
    path = bundle.rootfs / "ns"
    wait_until(path.exists, "the hook")
    expected = outside if stage in IN_RUNTIME else inside
    assert path.read_text().split() == [expected[name] for name in ("mnt", "net", "uts", "ipc")]


def test_create_container_hook_sees_the_mounts_before_the_pivot(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.hook(
        "createContainer",
        f"test -d {bundle.path} && grep -c ' {bundle.rootfs}/proc ' /proc/self/mountinfo > {bundle.path}/count",
    )
    runtime.create(bundle)
    assert (bundle.path / "count").read_text() == "1\n"


def test_start_container_hook_sees_the_root(runtime: Runtime) -> None:
    bundle = runtime.bundle().hook("startContainer", "ls / > /listing")
    runtime.start(bundle)
    wait_until(lambda: "listing" in journal_of(bundle), "the listing")


def journal_of(bundle: Bundle) -> list[str]:
    path = bundle.rootfs / "listing"
    return path.read_text().split() if path.exists() else []


def test_args_and_env_exactly(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    target = bundle.path / "seen"
    bundle.config["hooks"] = {
        "createRuntime": [
            {
                "path": "/bin/sh",
                "args": [
                    "zero",
                    "-c",
                    f'echo "$0|$1|$A" > {target}; tr "\\0" "\\n" < /proc/$$/environ >> {target}',
                    "one",
                    "two words",
                ],
                "env": ["A=b c"],
            }
        ]
    }
    runtime.create(bundle, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SECRET": "1"})
    assert target.read_text().splitlines() == ["one|two words|b c", "A=b c"]


@pytest.mark.parametrize("stage", STAGES)
def test_without_env(runtime: Runtime, stage: str) -> None:
    """Hooks of the runtime then have its environment, those of the container have the process's."""
    bundle = runtime.bundle().args("/bin/sleep", "100")
    bundle.process["env"] = ["PATH=/bin", "INSIDE=1"]
    target = "/seen" if stage == "startContainer" else str(bundle.rootfs / "seen")
    bundle.hook(stage, f"env > {target}.new; mv {target}.new {target}")
    del bundle.config["hooks"][stage][0]["env"]
    if stage == "startContainer":
        bundle.hook(stage, "true")  # one that has its own does not change the process's
    caller = {"PATH": "/usr/bin:/bin", "OUTSIDE": "1"}
    container = runtime.create(bundle, env=caller)
    runtime.ok("start", container.id, env=caller)
    if stage == "poststop":
        runtime.ok("delete", "--force", container.id, env=caller)
    wait_until((bundle.rootfs / "seen").exists, "the hook")
    found = dict(line.split("=", 1) for line in (bundle.rootfs / "seen").read_text().splitlines())
    for name in ("PWD", "SHLVL", "_LIBCONTAINER_CLONED_BINARY"):  # the shell's, and one that crun has for itself
        found.pop(name, None)
    expected = {"PATH": "/usr/bin:/bin", "OUTSIDE": "1"} if stage in IN_RUNTIME else {"PATH": "/bin", "INSIDE": "1"}
    if stage == "startContainer":
        expected["HOME"] = "/root"
    assert found == expected


def test_working_directory_of_a_create_container_hook(runtime: Runtime) -> None:
    """The specification names none: it is the caller's, as for the other hooks of create."""
    bundle = runtime.bundle().hook("createContainer", "pwd > cwd")
    runtime.create(bundle, cwd=bundle.path)
    assert (bundle.path / "cwd").read_text() == f"{bundle.path}\n"


def test_hook_without_args(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    tool = bundle.path / "tool"
    tool.write_text(f"#!/bin/sh\necho ran > {bundle.path}/ran\n")
    tool.chmod(0o755)
    bundle.config["hooks"] = {"createRuntime": [{"path": str(tool)}]}
    runtime.create(bundle)
    assert (bundle.path / "ran").exists()


@pytest.mark.parametrize("stage", AT_CREATE)
def test_failure_at_create(runtime: Runtime, stage: str) -> None:
    """create fails, no later hook but poststop runs, and nothing is left (runtime.md, "Lifecycle", steps 4 to 6)."""
    bundle = runtime.bundle()
    for other in STAGES:
        recorder(bundle, other, "exit 3" if other == stage else "")
    error = runtime.refuses(bundle)
    assert "hook" in error.lower()
    assert journal(bundle) == [*STAGES[: STAGES.index(stage) + 1], "poststop"]


def test_failure_at_start(runtime: Runtime) -> None:
    """A failed startContainer hook: the program does not run, and the container stops."""
    bundle = runtime.bundle().sh("echo program >> /journal")
    recorder(bundle, "startContainer", "exit 3")
    container = runtime.create(bundle)
    assert "hook" in runtime.fails("start", container.id).lower()
    container.wait()
    assert container.state()["status"] == "stopped"
    assert journal(bundle) == ["startContainer"]
    container.delete()


def test_failure_of_poststart(runtime: Runtime) -> None:
    """runtime-spec 1.3: start fails, and the container is destroyed: its lifecycle goes on at step 12."""
    bundle = runtime.bundle()
    recorder(bundle, "poststart", "exit 3")
    recorder(bundle, "poststop")
    container = runtime.create(bundle)
    assert "hook" in runtime.fails("start", container.id).lower()
    wait_until(lambda: not inspection.alive(container.pid), "the end of the container")
    assert journal(bundle) == ["poststart", "poststop"]
    assert "does not exist" in runtime.fails("state", container.id)
    runtime.assert_clean()


def test_failure_of_poststart_with_run(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    recorder(bundle, "poststart", "exit 3")
    recorder(bundle, "poststop")
    bundle.save()
    assert "hook" in runtime.fails("run", "--bundle", bundle.path, runtime.container(bundle).id).lower()
    assert journal(bundle) == ["poststart", "poststop"]
    runtime.assert_clean()


def test_failure_of_poststop_is_only_a_warning(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/true")
    recorder(bundle, "poststop", "exit 3")
    recorder(bundle, "poststop")
    container = runtime.start(bundle)
    container.wait()
    log = runtime.tmp / "log"
    runtime.ok("--log", log, "--log-format", "json", "delete", container.id)
    assert journal(bundle) == ["poststop", "poststop"]
    assert logged_warnings(log, "hook")
    runtime.assert_clean()


def test_failure_of_poststop_with_run_is_logged(runtime: Runtime) -> None:
    """The runtime MUST log a warning (config.md, "Poststop"), whatever the verb that deletes."""
    bundle = runtime.bundle().args("/bin/true")
    recorder(bundle, "poststop", "exit 3")
    log = runtime.tmp / "log"
    bundle.save()
    runtime.ok("--log", log, "--log-format", "json", "run", "--bundle", bundle.path, runtime.container(bundle).id)
    assert journal(bundle) == ["poststop"]
    assert logged_warnings(log, "hook")


def test_failure_of_poststop_after_a_failed_create_is_logged(runtime: Runtime) -> None:
    bundle = runtime.bundle().hook("createRuntime", "exit 3")
    recorder(bundle, "poststop", "exit 4")
    recorder(bundle, "poststop")
    bundle.save()
    log = runtime.tmp / "log"
    runtime.fails("--log", log, "create", "--bundle", bundle.path, runtime.container(bundle).id)
    assert journal(bundle) == ["poststop", "poststop"]
    assert "status 4" in log.read_text()
    runtime.assert_clean()


def logged_warnings(log: Path, word: str) -> list[str]:
    """The messages in a JSON log that are warnings and hold a word."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [entry["msg"] for entry in entries if entry["level"] == "warning" and word in entry["msg"]]


def test_missing_hook(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"createRuntime": [{"path": "/nonesuch/hook"}]}
    assert "/nonesuch/hook" in runtime.refuses(bundle)


def test_relative_hook_path(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"createRuntime": [{"path": "bin/true"}]}
    assert "hook" in runtime.refuses(bundle).lower()


@pytest.mark.parametrize("stage", ["createRuntime", "createContainer"])
def test_timeout(runtime: Runtime, stage: str) -> None:
    """A hook that hangs is ended with its children, even when one of them holds its output."""
    bundle = runtime.bundle()
    seconds = f"7{os.getpid()}"
    bundle.hook(stage, f"sleep {seconds} & sleep {seconds}", timeout=1)
    begin = time.monotonic()
    error = runtime.refuses(bundle, timeout=4)
    assert time.monotonic() - begin < 2
    assert "hook" in error.lower() or "timeout" in error.lower()


@pytest.mark.parametrize("value", [0, -1])
def test_timeout_that_is_not_positive(runtime: Runtime, value: int) -> None:
    bundle = runtime.bundle().hook("createRuntime", "true", timeout=value)
    assert "timeout" in runtime.refuses(bundle)


def test_error_shows_what_the_hook_said(runtime: Runtime) -> None:
    bundle = runtime.bundle().hook("createRuntime", "echo the reason >&2; exit 3")
    assert "the reason" in runtime.refuses(bundle)


@pytest.mark.parametrize("stage", [*AT_CREATE, "startContainer", "poststart"])
def test_error_names_the_hook_in_the_words_of_runc(runtime: Runtime, stage: str) -> None:
    """Its kind and its place in the list, also for hooks that run inside; runc 1.1 leaves out the kind."""
    bundle = runtime.bundle().hook(stage, "true").hook(stage, "exit 3")
    error = runtime.refuses(bundle) if stage in AT_CREATE else runtime.fails("start", runtime.create(bundle).id)
    assert re.search(rf"error running ({stage} )?hook #1: ", error), error


@pytest.mark.parametrize("stage", [*AT_CREATE, "startContainer", "poststart"])
def test_what_a_hook_prints_is_bounded_and_plain(runtime: Runtime, stage: str) -> None:
    """The image's own programs, too: neither a terminal nor a log gets control characters, or megabytes."""
    script = "head -c 10000000 /dev/zero | tr '\\0' x; printf '\\033[31m\\007red\\302\\233 alert'"
    bundle = runtime.bundle().hook(stage, f"exec >&2; {script}; echo; {script}; exit 3").save()
    container = runtime.container(bundle)
    log = runtime.tmp / "log"
    words = ["--log", log, "--log-format", "json"]
    create = ["create", "--bundle", bundle.path, container.id]
    if stage not in AT_CREATE:
        runtime.ok(*create)
        create = ["start", container.id]
    error = runtime.fails(*words, *create)
    for text in (error, json.loads(log.read_text())["msg"] + "\n"):
        assert "hook" in text and "3" in text
        assert len(text) < 2000
        assert text.count("\n") == 1
        assert text.replace("\n", "").isprintable()


def test_hook_can_configure_the_network_namespace(runtime: Runtime) -> None:
    """What CNI needs: at createRuntime the state's PID leads to the new network namespace."""
    bundle = runtime.bundle().args("/bin/ip", "-o", "link")
    python = "import json,sys;print(json.load(sys.stdin)['pid'])"
    bundle.hook(
        "createRuntime",
        f'pid=$(/usr/bin/python3 -c "{python}") && nsenter --target $pid --net ip link add name dummy7 type bridge',
    )
    assert "dummy7" in runtime.output(bundle)


def test_hook_does_not_hold_descriptors_of_the_caller(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.hook("createRuntime", f"ls -l /proc/self/fd > {bundle.path}/fds")
    descriptor = os.open(bundle.path, os.O_RDONLY)
    try:
        runtime.create(bundle, pass_fds=[descriptor])
    finally:
        os.close(descriptor)
    links = [line.split()[-1] for line in Path(bundle.path / "fds").read_text().splitlines()[1:]]
    assert str(bundle.path) not in links
