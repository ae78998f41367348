# SPDX-License-Identifier: Apache-2.0
"""Filters that forbid what init itself calls: it fails in words, or ends; it neither hangs nor goes on for ever.

More rounds of the test at random by PYOCI_TEST_ROUNDS.
"""

from __future__ import annotations

import os
import platform
import random
from typing import Any

import pytest
from harness.bundle import Bundle
from harness.runtime import Result, Runtime, wait_until

ROUNDS = int(os.environ.get("PYOCI_TEST_ROUNDS", "12"))
ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[platform.machine()]

# What init calls between the filter and the program, and what it would call to say that something went wrong. EINTR is
# the error after which programs try again, 0 is a call that does nothing and says that all is well.
CALLS = (
    *("execve", "sendmsg", "recvmsg", "exit_group", "exit", "poll", "ppoll", "accept4", "close_range", "capset"),
    *("prctl", "close", "read", "write", "openat", "wait4", "rt_sigaction", "rt_sigprocmask", "mmap", "munmap", "brk"),
    *("fcntl", "setresuid", "seccomp", "fchdir", "socket", "clone", "kill", "tgkill", "getpid"),
)
ACTIONS: dict[str, dict[str, Any]] = {
    "EPERM": {"action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    "EINTR": {"action": "SCMP_ACT_ERRNO", "errnoRet": 4},
    "nothing": {"action": "SCMP_ACT_ERRNO", "errnoRet": 0},
    "kill": {"action": "SCMP_ACT_KILL_PROCESS"},
    "trap": {"action": "SCMP_ACT_TRAP"},
}
TOGETHER = (
    ("execve", "sendmsg"),
    ("execve", "exit_group"),
    ("execve", "exit_group", "exit"),
    ("execve", "sendmsg", "exit_group", "exit"),
    ("execve", "sendmsg", "exit_group", "exit", "kill", "tgkill", "rt_sigaction", "rt_sigprocmask", "getpid"),
    CALLS,
)


def filtered(bundle: Bundle, names: tuple[str, ...], action: str, no_new_privileges: bool) -> Bundle:
    """A bundle whose filter lets everything pass but some calls."""
    # sorted: libseccomp's program, and its name in the cache, follow from the order
    rule = {"names": sorted(name for name in names if name not in ABSENT), **ACTIONS[action]}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [ARCHITECTURE], "syscalls": [rule]}
    bundle.linux["seccomp"] = profile
    bundle.process["noNewPrivileges"] = no_new_privileges
    return bundle


ABSENT = ("poll",) if platform.machine() == "aarch64" else ()


def one_line_at_most(result: Result) -> None:
    assert len(result.err.splitlines()) <= 1, result
    assert "internal error" not in result.err, result


def run_filtered(runtime: Runtime, names: tuple[str, ...], action: str, no_new_privileges: bool) -> None:
    bundle = filtered(runtime.bundle().args("/bin/true"), names, action, no_new_privileges)
    one_line_at_most(runtime.run(bundle))
    runtime.assert_clean()


def start_filtered(runtime: Runtime, names: tuple[str, ...], action: str, no_new_privileges: bool) -> None:
    """create and start end, and so does init, or the program: nothing goes on calling what fails."""
    bundle = filtered(runtime.bundle().args("/bin/true"), names, action, no_new_privileges)
    container = runtime.container(bundle.save())
    created = runtime.call("create", "--bundle", bundle.path, container.id)
    one_line_at_most(created)
    if created.code == 0:
        one_line_at_most(runtime.call("start", container.id))
        wait_until(lambda: container.state()["status"] == "stopped", f"the end of init ({names}, {action})")
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["no_new_privs", "new_privs"])
@pytest.mark.parametrize("action", ACTIONS)
def test_each_call_forbidden(runtime: Runtime, action: str, no_new_privileges: bool) -> None:
    for name in CALLS:
        run_filtered(runtime, (name,), action, no_new_privileges)


@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["no_new_privs", "new_privs"])
@pytest.mark.parametrize("action", ACTIONS)
def test_calls_forbidden_together(runtime: Runtime, action: str, no_new_privileges: bool) -> None:
    """With execve init has to tell, with sendmsg it cannot, and with exit it cannot even end as it would."""
    for names in TOGETHER:
        run_filtered(runtime, names, action, no_new_privileges)
        start_filtered(runtime, names, action, no_new_privileges)


def test_calls_forbidden_at_random(runtime: Runtime) -> None:
    draw = random.Random(20261124)
    for _ in range(ROUNDS):
        names = ("execve", *draw.sample(CALLS[1:], draw.randrange(1, len(CALLS))))
        act = draw.choice((run_filtered, start_filtered))
        act(runtime, names, draw.choice(list(ACTIONS)), draw.random() < 0.5)


@pytest.mark.parametrize("action", ACTIONS)
def test_exec_under_a_filter(runtime: Runtime, action: str) -> None:
    """The program of the container runs without these calls; what exec brings would need some of them.

    Without no_new_privs the filter is loaded earlier, so that a container whose filter forbids more cannot be created.
    """
    names = {
        True: ("sendmsg", "recvmsg", "exit", "poll", "ppoll", "accept4", "close_range", "capset", "fchdir"),
        False: ("exit", "poll", "ppoll", "fchdir", "socket"),
    }
    for no_new_privileges, forbidden in names.items():
        with runtime.start(filtered(runtime.bundle(), forbidden, action, no_new_privileges)) as container:
            for words in (["/bin/true"], ["/nonesuch"], ["/etc/passwd"]):
                one_line_at_most(runtime.call("exec", container.id, *words))
                one_line_at_most(runtime.call("exec", "--detach", container.id, *words))
            assert container.state()["status"] == "running"
