# SPDX-License-Identifier: Apache-2.0
"""exec: one more process in a container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.console import ConsoleSocket
from harness.runtime import Container, Runtime

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone


@pytest.fixture
def container(runtime: Runtime) -> Container:
    """A running container with what most tests need."""
    bundle = runtime.bundle().namespace("cgroup")
    bundle.process["env"].append("FROM=config")
    return runtime.start(bundle)


def spec(container: Container, **process: Any) -> Path:
    """A process document for --process."""
    document = {
        "args": ["/bin/sh", "-c", "echo hi"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "user": {"uid": 0, "gid": 0},
        **process,
    }
    path = container.bundle.path / "process.json"
    path.write_text(json.dumps(document))
    return path


def detached(container: Container, *args: str, flags: tuple[str, ...] = ()) -> int:
    """Starts a detached process; its PID."""
    path = container.bundle.path / "exec.pid"
    result = container.exec(*args, flags=["--detach", "--pid-file", path, *flags])
    assert result.code == 0, result
    return int(path.read_text())


def test_output_and_status(container: Container) -> None:
    result = container.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.code, result.out, result.err) == (3, "out\n", "err\n")


def test_status_of_a_signal(container: Container) -> None:
    assert container.exec("/bin/sh", "-c", "kill -TERM $$").code == 143


def test_stdin(container: Container) -> None:
    path = container.bundle.path / "in"
    path.write_text("line\n")
    with open(path, "rb") as stdin:
        assert container.exec("/bin/cat", stdin=stdin).out == "line\n"


def test_namespaces(container: Container) -> None:
    pid = detached(container, "/bin/sleep", "100")
    assert inspection.namespaces(pid) == inspection.namespaces(container.pid)


def test_control_group(container: Container) -> None:
    pid = detached(container, "/bin/sleep", "100")
    assert inspection.cgroups(pid) == inspection.cgroups(container.pid)


def test_root_is_the_containers(container: Container) -> None:
    pid = detached(container, "/bin/sleep", "100")
    assert os.stat(f"/proc/{pid}/root/etc/passwd").st_ino == (container.bundle.rootfs / "etc/passwd").stat().st_ino


def test_detached_process_is_orphaned_to_the_subreaper(container: Container) -> None:
    pid = detached(container, "/bin/sleep", "100")
    assert inspection.status(pid)["PPid"] == str(os.getpid())


def test_detached_pid_file(container: Container) -> None:
    path = container.bundle.path / "pid2"
    result = container.exec("/bin/sleep", "100", flags=["--detach", "--pid-file", path])
    assert result.code == 0
    assert path.read_bytes().isdigit()
    assert inspection.alive(int(path.read_text()))


def test_foreground_pid_file(container: Container) -> None:
    path = container.bundle.path / "pid2"
    assert container.exec("/bin/true", flags=["--pid-file", path]).code == 0
    assert path.read_bytes().isdigit()


def test_env_is_the_containers_and_more(container: Container) -> None:
    out = container.exec("/bin/env", flags=["--env", "NEW=1", "--env", "TWO=a=b"]).out.splitlines()
    assert {"FROM=config", "NEW=1", "TWO=a=b", "PATH=/bin"} <= set(out)


def test_env_of_the_flag_counts(container: Container) -> None:
    assert container.exec("/bin/sh", "-c", "echo $FROM", flags=["--env", "FROM=flag"]).out == "flag\n"


def test_env_of_the_caller_stays_out(container: Container) -> None:
    out = container.exec("/bin/env", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SECRET": "1"}).out
    assert "SECRET" not in out


def test_cwd(container: Container) -> None:
    assert container.exec("/bin/pwd", flags=["--cwd", "/work"]).out == "/work\n"


def test_user_and_group(container: Container) -> None:
    out = container.exec("/bin/sh", "-c", "id -u; id -g; echo $HOME", flags=["--user", "1000:1000"]).out
    assert out.split() == ["1000", "1000", "/work"]


def test_additional_groups(container: Container) -> None:
    out = container.exec("/bin/id", "-G", flags=["--user", "1000:1000", "-g", "30", "-g", "40"]).out
    assert {"30", "40"} <= set(out.split()) <= {"30", "40", "1000"}


def test_user_is_a_number(container: Container) -> None:
    assert container.exec("/bin/id", "-u", flags=["-u", "1"]).out == "1\n"


@pytest.mark.parametrize("user", ["x:y", "-1", "1:x", " 1", "4294967295", "4294967296", "18446744073709551616"])
def test_user_malformed(runtime: Runtime, container: Container, user: str) -> None:
    runtime.fails("exec", "--user", user, container.id, "/bin/true")


def test_capabilities_are_the_containers(container: Container) -> None:
    """Inside, exec has the sets of the config."""
    init = inspection.status(container.pid)
    found = inspection.parse_status(container.sh("cat /proc/self/status"))
    for name in ("CapBnd", "CapPrm", "CapEff", "CapInh"):
        assert found[name] == init[name]


def test_capability_is_added(container: Container) -> None:
    """--cap adds to the sets of the config; the inheritable set stays empty (CVE-2022-29162)."""
    found = inspection.parse_status(container.exec("/bin/cat", "/proc/self/status", flags=["--cap", "CAP_NET_RAW"]).out)
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(found[name], 16) >> 13 & 1
    assert int(found["CapInh"], 16) == 0


def test_capability_for_a_user(container: Container) -> None:
    found = inspection.parse_status(container.exec("/bin/cat", "/proc/self/status", flags=["-u", "1000"]).out)
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == int(found["CapAmb"], 16) == 0


def test_no_new_privileges_flag(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["noNewPrivileges"] = False
    other = runtime.start(bundle)
    assert inspection.parse_status(other.sh("cat /proc/self/status"))["NoNewPrivs"] == "0"
    assert inspection.parse_status(other.sh("cat /proc/self/status", "--no-new-privs"))["NoNewPrivs"] == "1"


def test_process_document(container: Container) -> None:
    path = spec(
        container,
        args=["/bin/sh", "-c", "id -u; pwd; echo $A; ulimit -n"],
        env=["PATH=/bin", "A=1"],
        cwd="/work",
        user={"uid": 7, "gid": 8},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
    )
    result = container.runtime.ok("exec", "--process", path, container.id)
    assert result.out.split() == ["7", "/work", "1", "100"]


def test_process_document_through_a_pipe(container: Container) -> None:
    """``exec --process <(...)`` of a shell."""
    text = spec(container, args=["/bin/echo", "piped"]).read_bytes()
    read, write = os.pipe()
    try:
        os.write(write, text)
        os.close(write)
        result = container.runtime.ok("exec", "--process", f"/dev/fd/{read}", container.id, pass_fds=[read])
    finally:
        os.close(read)
    assert result.out == "piped\n"


def test_process_document_that_never_comes(container: Container) -> None:
    """Nobody opens the FIFO to write: exec ends, and says what it waited for."""
    fifo = container.runtime.tmp / "fifo"
    os.mkfifo(fifo)
    error = container.runtime.fails("exec", "--process", fifo, container.id)
    assert "the pipe was not written and closed within 4 s" in error


def test_process_document_umask(container: Container) -> None:
    path = spec(container, args=["/bin/sh", "-c", "umask"], user={"uid": 0, "gid": 0, "umask": 0o077})
    assert container.runtime.ok("exec", "--process", path, container.id).out == "0077\n"


def test_process_document_env_exactly(container: Container) -> None:
    path = spec(container, args=["/bin/env"], env=["ONLY=1", "HOME=/x"])
    assert container.runtime.ok("exec", "--process", path, container.id).out.splitlines() == ["ONLY=1", "HOME=/x"]


def test_process_document_capabilities(container: Container) -> None:
    caps = {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}
    path = spec(container, args=["/bin/cat", "/proc/self/status"], capabilities=caps)
    found = inspection.parse_status(container.runtime.ok("exec", "--process", path, container.id).out)
    assert {int(found[name], 16) for name in ("CapBnd", "CapPrm", "CapEff")} == {1 << 5}


def test_process_document_is_checked(runtime: Runtime, container: Container) -> None:
    path = spec(container, cwd="relative")
    assert "cwd" in runtime.fails("exec", "--process", path, container.id).lower()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"args": "x", "cwd": "/"}'])
def test_process_document_malformed(runtime: Runtime, container: Container, text: str) -> None:
    path = spec(container)
    path.write_text(text)
    runtime.fails("exec", "--process", path, container.id)


def test_process_document_missing(runtime: Runtime, container: Container) -> None:
    runtime.fails("exec", "--process", "/nonesuch.json", container.id)


def test_without_a_command(runtime: Runtime, container: Container) -> None:
    runtime.fails("exec", container.id)


def test_terminal_with_socket(runtime: Runtime, container: Container) -> None:
    with ConsoleSocket(runtime.tmp / "console.sock") as socket:
        flags = ["--tty", "--detach", "--pid-file", runtime.tmp / "pid", "--console-socket", socket.path]
        assert container.exec("/bin/sh", "-c", "tty; read x; echo got $x", flags=flags).code == 0
        with socket.receive() as terminal:
            terminal.read_until("/dev/pts/0")
            terminal.type("key\n")
            terminal.read_until("got key")


def test_terminal_of_a_process_document(runtime: Runtime, container: Container) -> None:
    path = spec(
        container, args=["/bin/sh", "-c", "stty size; sleep 10"], terminal=True, consoleSize={"height": 20, "width": 70}
    )
    with ConsoleSocket(runtime.tmp / "console.sock") as socket:
        runtime.ok("exec", "--detach", "--process", path, "--console-socket", socket.path, container.id)
        with socket.receive() as terminal:
            terminal.read_until("20 70")


def test_detached_terminal_without_socket(runtime: Runtime, container: Container) -> None:
    runtime.fails("exec", "--tty", "--detach", container.id, "/bin/true")


def test_missing_program(runtime: Runtime, container: Container) -> None:
    error = runtime.fails("exec", container.id, "nonesuch")
    assert "executable file" in error
    assert "not found in $PATH" in error


def test_program_without_permission(runtime: Runtime, container: Container) -> None:
    assert "permission denied" in runtime.fails("exec", container.id, "/etc/passwd").lower()


@pytest.mark.parametrize("program", ["nonesuch", "/etc/passwd", "/work/script"])
def test_failed_detached_writes_no_pid_file(runtime: Runtime, container: Container, program: str) -> None:
    """conmon tells a failure by the missing file."""
    script = container.bundle.rootfs / "work/script"
    script.write_text("#!/none\n")
    script.chmod(0o755)
    runtime.fails("exec", "--detach", "--pid-file", runtime.tmp / "pid", container.id, program)
    assert not (runtime.tmp / "pid").exists()


def test_stopped_container(runtime: Runtime) -> None:
    stopped = runtime.start(runtime.bundle().args("/bin/true"))
    stopped.wait()
    assert "not running" in runtime.fails(
        "exec", "--detach", "--pid-file", runtime.tmp / "pid", stopped.id, "/bin/true"
    ).replace("stopped container", "not running")
    assert not (runtime.tmp / "pid").exists()


def test_created_container(runtime: Runtime) -> None:
    """Both anchors allow it: engines exec into a container that waits for start."""
    created = runtime.create(runtime.bundle())
    assert created.sh("echo ok") == "ok\n"
    assert created.state()["status"] == "created"


def test_ends_with_the_container(container: Container) -> None:
    pid = detached(container, "/bin/sleep", "100")
    container.end()
    container.delete()
    assert not inspection.alive(pid)


def test_descriptors(container: Container) -> None:
    out = container.sh("for f in /proc/self/fd/*; do n=${f##*/}; test $n -gt 2 && test -e $f && echo $n; done; true")
    assert out == ""


def test_joined_namespaces(runtime: Runtime, container: Container) -> None:
    """exec into a peer that joined another container's namespaces lands in those."""
    bundle = runtime.bundle()
    del bundle.config["hostname"]
    for kind, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")):
        bundle.namespace(kind, f"/proc/{container.pid}/ns/{name}")
    peer = runtime.start(bundle)
    out = peer.sh("for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done").split()
    spaces = inspection.namespaces(peer.pid)
    assert out == [spaces[name] for name in ("net", "ipc", "uts", "pid", "mnt")]


def test_many_in_a_row(container: Container) -> None:
    for number in range(20):
        assert container.exec("/bin/sh", "-c", f"exit {number}").code == number


def test_control_group_of_a_flag(container: Container) -> None:
    """--cgroup names a group below the container's."""
    places = [f"/sys/fs/cgroup/{name}/{container.id}" for name in host.controllers()]
    for path in [f"{place}/sub" for place in places if os.path.isdir(place)]:
        os.mkdir(path)
        for file in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset takes no process before these are filled
            if os.path.exists(f"{path}/{file}"):
                Path(f"{path}/{file}").write_text(Path(f"{path}/../{file}").read_text())
    pid = detached(container, "/bin/sleep", "100", flags=("--cgroup", "sub"))
    found = inspection.cgroups(pid)
    assert f"/{container.id}/sub" in {found[name] for name in found}


def test_an_error_names_what_asked_for_it(container: Container) -> None:
    """Not config.json, which has no part in what the flags and the process document say."""
    result = container.exec("/bin/true", flags=["--cwd", "/nonesuch"])
    assert result.code != 0 and "/nonesuch" in result.err and "config.json" not in result.err, result
    path = spec(container, cwd="/nonesuch")
    result = container.exec(flags=["--process", path])
    assert result.code != 0 and "/nonesuch" in result.err and "config.json" not in result.err, result
    if container.runtime.kind == "pyoci":
        assert result.err.endswith(f"({path}: /cwd)\n")


def test_a_pid_file_that_cannot_be_written_is_no_missing_program(container: Container) -> None:
    """podman and docker take the text of ENOENT for a program that is not in the image."""
    path = container.bundle.path / "none/pid"
    result = container.exec("/bin/true", flags=["--detach", "--pid-file", path])
    assert result.code != 0
    assert str(path) in result.err or container.runtime.kind != "pyoci"
    assert "no such file or directory" not in result.err.lower(), result
