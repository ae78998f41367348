# SPDX-License-Identifier: Apache-2.0
"""CVE-2016-9962: a container with CAP_SYS_PTRACE seizes each process of the runtime as soon as it can see it.

What is seized may hold no capability that the container has not, and no way to the host's files.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from harness import programs
from harness.bundle import Bundle, mount
from harness.runtime import REPOSITORY, Container, Runtime, wait_until

SOURCE = Path(__file__).with_name("seize.c")
INIT = "/memfd:pyoci-init"
SEIZURES = 200
CREATES = 50
OLD_KERNEL = REPOSITORY / "tests/harness/oldkernel.c"
SYS_ADMIN = 1 << 21  # CAP_SYS_ADMIN
CAPABILITIES = ("CAP_SYS_PTRACE", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE")


class Seized:
    """A line of the program: a process that was seized."""

    def __init__(self, line: str) -> None:
        pid, self.exe, mask, taken, *self.host = line.split()
        self.pid = int(pid)
        self.permitted = int(mask, 16)
        self.taken = taken == "taken"
        self.line = line


def attacker(runtime: Runtime) -> Bundle:
    """A bundle whose process seizes whoever comes into its PID namespace."""
    (runtime.tmp / "marker").write_text("host\n")
    bundle = runtime.bundle().capabilities(*CAPABILITIES)
    shutil.copy(programs.compiled(SOURCE), bundle.rootfs / "work/seize")
    return bundle.args("/work/seize", marker(runtime))


def marker(runtime: Runtime) -> str:
    """A file of the host, as a path without its first slash."""
    return str(runtime.tmp / "marker").lstrip("/")


def seized(output: str) -> list[Seized]:
    """The processes that were seized, but for the line that says that the program runs."""
    return [Seized(line) for line in output.splitlines() if line != "up"]


def assert_nothing_won(found: list[Seized]) -> None:
    """No capability beyond the container's, no host behind a link."""
    mask = sum(1 << number for number in (1, 5, 6, 7, 19))
    assert [one.line for one in found if one.taken or one.permitted & ~mask or one.host] == []


def of_init(found: list[Seized]) -> list[Seized]:
    """Those that were the runtime's own program at that moment, not yet the container's."""
    return [one for one in found if one.exe.startswith(INIT) or "runc" in one.exe or "crun" in one.exe]


def test_exec(runtime: Runtime) -> None:
    container = runtime.start(attacker(runtime))
    container.wait_for("up")
    for _ in range(4 * SEIZURES):
        container.exec("/bin/true")
        if len(of_init(seized(container.output))) >= SEIZURES:
            break
    found = seized(container.output)
    assert len(of_init(found)) >= SEIZURES
    assert_nothing_won(found)


def test_exec_of_another_user(runtime: Runtime) -> None:
    container = runtime.start(attacker(runtime))
    container.wait_for("up")
    for _ in range(40):
        container.exec("/bin/true", flags=["--user", "1000:1000"])
    found = seized(container.output)
    assert len(of_init(found)) >= 10
    assert_nothing_won(found)


def test_exec_with_a_filter(runtime: Runtime) -> None:
    """Without no_new_privs the filter is loaded while init may still do so: before it can be seen."""
    bundle = attacker(runtime)
    bundle.process["noNewPrivileges"] = False
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    }
    container = runtime.start(bundle)
    container.wait_for("up")
    for _ in range(40):
        container.exec("/bin/true")
    found = seized(container.output)
    assert len(of_init(found)) >= 10
    assert_nothing_won(found)


def test_exec_into_a_created_container(runtime: Runtime) -> None:
    """Its init waits for start, and is there for all that exec brings."""
    bundle = attacker(runtime)
    container = runtime.create(bundle)
    child, result = runtime.popen("exec", container.id, "/work/seize", marker(runtime), "1")
    wait_until(lambda: len(result.out.splitlines()) > 1, "the seizure of the waiting init")
    container.kill("KILL")
    container.wait()
    runtime.finish(child, result)
    found = seized(result.out)
    assert found[0].pid == 1
    assert_nothing_won(found)


HOOKS: list[tuple[str, ...]] = [(), ("prestart",), ("createRuntime",), ("createContainer",)]


@pytest.mark.parametrize("stages", HOOKS, ids=lambda stages: "-".join(stages) or "without hooks")
def test_create_in_a_shared_pid_namespace(runtime: Runtime, stages: tuple[str, ...]) -> None:
    watcher = runtime.start(attacker(runtime))
    watcher.wait_for("up")
    for number in range(CREATES):
        peer = joining(runtime, watcher, f"{runtime.prefix}-peer{number}")
        for stage in stages:
            peer.hook(stage, "cat >/dev/null")
        container = runtime.create(peer)
        container.end()
        container.delete()
        shutil.rmtree(peer.path)
    found = seized(watcher.output)
    assert len(of_init(found)) >= CREATES // 2
    assert_nothing_won(found)


def test_create_on_an_older_kernel(runtime: Runtime) -> None:
    """Before Linux 6.17 a helper opens the procfs as a member of the namespace: it is confined to that, and keeps init
    from nothing but success."""
    watcher = runtime.start(attacker(runtime))
    watcher.wait_for("up")
    ends = []
    for number in range(30):
        peer = joining(runtime, watcher, f"{runtime.prefix}-peer{number}").args("/bin/true").save()
        runtime.container(peer)
        result = runtime.call("run", "--bundle", peer.path, peer.name, caller=[str(programs.compiled(OLD_KERNEL))])
        ends.append(result.code)
        assert result.code == 0 or "mount /proc: fsopen: " in result.err, result
    found = seized(watcher.output)
    assert [one.line for one in found if one.taken or one.host] == []
    helpers = [one for one in found if one.permitted == SYS_ADMIN]
    assert helpers, "no helper was seized"
    assert_nothing_won([one for one in found if one not in helpers])


def joining(runtime: Runtime, watcher: Container, name: str) -> Bundle:
    """A bundle whose container joins the watcher's PID namespace, and takes its time for it."""
    peer = runtime.bundle(name).namespace("pid", f"/proc/{watcher.pid}/ns/pid").capabilities(*CAPABILITIES)
    peer.mounts.extend(mount(f"/many/{number}", "tmpfs", "tmpfs") for number in range(10))
    return peer
