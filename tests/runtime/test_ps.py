# SPDX-License-Identifier: Apache-2.0
"""ps: the processes of a container by their PIDs on the host, and as ps(1) shows them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from harness import inspection
from harness.runtime import Container, Runtime, wait_until

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone


def three(runtime: Runtime) -> Container:
    """A container with three processes."""
    container = runtime.start(runtime.bundle().sh("sleep 1000 & setsid sleep 1001 & echo up; sleep 1002; true"))
    wait_until(lambda: len(inspection.descendants(container.pid)) == 3, "the children")
    return container


def expected(container: Container) -> list[int]:
    return sorted([container.pid, *inspection.descendants(container.pid)])


def test_json(runtime: Runtime) -> None:
    container = three(runtime)
    for flags in (["--format", "json"], ["--format=json"], ["-f", "json"]):
        assert sorted(json.loads(runtime.ok("ps", *flags, container.id).out)) == expected(container)


def test_table_has_the_lines_of_ps(runtime: Runtime) -> None:
    container = three(runtime)
    heading, *lines = runtime.ok("ps", container.id).out.splitlines()
    assert heading.split()[:3] == ["UID", "PID", "PPID"]
    assert sorted(int(line.split()[1]) for line in lines) == expected(container)
    assert any(line.endswith("sleep 1001") for line in lines)


def test_arguments_of_ps(runtime: Runtime) -> None:
    container = three(runtime)
    heading, *lines = runtime.ok("ps", container.id, "-e", "-o", "pid,args").out.splitlines()
    assert heading.split() == ["PID", "COMMAND"]
    assert sorted(int(line.split()[0]) for line in lines) == expected(container)


def test_arguments_without_dashes(runtime: Runtime) -> None:
    container = three(runtime)
    heading, *lines = runtime.ok("ps", container.id, "aux").out.splitlines()
    assert heading.startswith("USER")
    assert sorted(int(line.split()[1]) for line in lines) == expected(container)


def test_processes_of_exec_are_listed(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    path = runtime.tmp / "pid"
    assert container.exec("/bin/sleep", "100", flags=["--detach", "--pid-file", path]).code == 0
    listed = json.loads(runtime.ok("ps", "--format=json", container.id).out)
    assert sorted(listed) == sorted([container.pid, int(path.read_text())])


def test_created_and_paused(runtime: Runtime) -> None:
    container = runtime.create(runtime.bundle())
    assert json.loads(runtime.ok("ps", "--format=json", container.id).out) == [container.pid]
    container.start()
    runtime.ok("pause", container.id)
    assert json.loads(runtime.ok("ps", "--format=json", container.id).out) == [container.pid]


def test_a_stopped_one_has_none(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    container.end()
    assert not json.loads(runtime.ok("ps", "--format=json", container.id).out)


def test_output_without_pids(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    assert "PID" in runtime.fails("ps", container.id, "-e", "-o", "args")


def test_arguments_that_ps_refuses(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    assert "exit status 1" in runtime.fails("ps", container.id, "--nonesuch")


def test_unknown_format(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    runtime.fails("ps", "--format", "yaml", container.id)


def test_without_an_environment(runtime: Runtime) -> None:
    """Callers may have no PATH (docs/engines.md)."""
    container = runtime.start(runtime.bundle())
    assert str(container.pid) in runtime.ok("ps", container.id, env={}).out


def test_host_without_ps(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    assert "no program ps" in runtime.fails("ps", container.id, env={"PATH": str(runtime.tmp)})
    assert runtime.ok("ps", "--format=json", container.id, env={"PATH": str(runtime.tmp)}).out


def test_ps_that_does_not_end(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle())
    program = runtime.tmp / "ps"
    program.write_text("#!/bin/sh\nexec /bin/sleep 1000\n")
    program.chmod(0o755)
    begin = time.monotonic()
    assert "did not end" in runtime.fails("ps", container.id, env={"PATH": str(runtime.tmp)})
    assert time.monotonic() - begin < 10


def test_names_of_programs_are_no_commands_to_a_terminal(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("exec /bin/sh -c 'echo up; sleep 1000; true' \"$(printf 'a\\033[31mb')\"")
    container = runtime.start(bundle)
    container.wait_for("up")
    out = Path(runtime.ok("ps", container.id, "-ww", "-ef").out_path).read_bytes()
    assert b"\x1b" not in out
    assert re.search(rb"echo up", out)


def test_without_a_cgroup(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    handle = runtime.container(bundle)
    flags = ["--bundle", bundle.path, "--pid-file", bundle.path / "pid"]
    runtime.ok("--cgroup-manager", "disabled", "create", *flags, handle.id)
    assert "disabled" in runtime.fails("ps", "--format=json", handle.id)
