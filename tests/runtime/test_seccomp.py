# SPDX-License-Identifier: Apache-2.0
"""Seccomp profiles do what they say."""

from __future__ import annotations

import errno
import json
import platform
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import inspection
from harness.bundle import Bundle
from harness.runtime import Runtime, wait_until

ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[platform.machine()]


def profile(default: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "architectures": [ARCHITECTURE], "syscalls": list(rules), **more}


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **more}


def with_profile(runtime: Runtime, script: str, seccomp: dict[str, Any]) -> Bundle:
    bundle = runtime.bundle().sh(script)
    bundle.linux["seccomp"] = seccomp
    return bundle


def test_mode_is_filter(runtime: Runtime) -> None:
    bundle = with_profile(runtime, "cat /proc/self/status", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "swapon")))
    status = inspection.parse_status(runtime.output(bundle))
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")


def test_mode_without_no_new_privileges(runtime: Runtime) -> None:
    bundle = with_profile(runtime, "cat /proc/self/status", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "swapon")))
    bundle.process["noNewPrivileges"] = False
    status = inspection.parse_status(runtime.output(bundle))
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "0")


def test_user_without_no_new_privileges(runtime: Runtime) -> None:
    bundle = with_profile(runtime, "cat /proc/self/status", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "swapon")))
    bundle.process["noNewPrivileges"] = False
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert inspection.parse_status(runtime.output(bundle))["Seccomp"] == "2"


def test_no_profile(runtime: Runtime) -> None:
    assert (
        inspection.parse_status(runtime.output(runtime.bundle().args("/bin/cat", "/proc/self/status")))["Seccomp"]
        == "0"
    )


def test_errno_by_default(runtime: Runtime) -> None:
    bundle = with_profile(
        runtime, "mkdir /work/x", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "mkdirat"))
    )
    assert "Operation not permitted" in runtime.run(bundle).err


def test_errno_of_a_rule(runtime: Runtime) -> None:
    forbidden = rule("SCMP_ACT_ERRNO", "mkdir", "mkdirat", errnoRet=errno.ENOSPC)
    assert (
        "No space left" in runtime.run(with_profile(runtime, "mkdir /work/x", profile("SCMP_ACT_ALLOW", forbidden))).err
    )


def test_default_errno(runtime: Runtime) -> None:
    """Everything but what the shell needs fails with the profile's own number."""
    needed = rule("SCMP_ACT_ALLOW", *MINIMAL)
    bundle = runtime.bundle().args("/bin/mkdir", "/work/x")
    bundle.linux["seccomp"] = profile("SCMP_ACT_ERRNO", needed, defaultErrnoRet=errno.ENOSPC)
    assert "No space left" in runtime.run(bundle).err


# What busybox calls before it comes to its work.
MINIMAL = """execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom mprotect
mmap munmap getuid geteuid getgid getegid setuid setgid write writev exit exit_group fstat newfstatat rt_sigaction
rt_sigprocmask umask getpid fcntl ioctl prctl""".split()


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"])
def test_kill(runtime: Runtime, action: str) -> None:
    bundle = with_profile(
        runtime, "mkdir /work/x; echo $?", profile("SCMP_ACT_ALLOW", rule(action, "mkdir", "mkdirat"))
    )
    assert runtime.output(bundle) == f"{128 + signal.SIGSYS}\n"


def test_trap(runtime: Runtime) -> None:
    bundle = with_profile(
        runtime, "mkdir /work/x; echo $?", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_TRAP", "mkdir", "mkdirat"))
    )
    assert runtime.output(bundle) == f"{128 + signal.SIGSYS}\n"


def test_log_allows(runtime: Runtime) -> None:
    bundle = with_profile(
        runtime, "mkdir /work/x && echo ok", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_LOG", "mkdir", "mkdirat"))
    )
    assert runtime.output(bundle) == "ok\n"


def test_one_argument(runtime: Runtime) -> None:
    """kill of signal 9 is refused, another passes."""
    arguments = [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]
    seccomp = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "kill", args=arguments))
    bundle = with_profile(runtime, "sleep 50 & kill -9 $!; echo $?; kill -15 $!; echo $?", seccomp)
    assert runtime.output(bundle).split() == ["1", "0"]


@pytest.mark.parametrize(
    ("op", "value", "more", "refused"),
    [
        ("SCMP_CMP_NE", 15, {}, {9, 1}),
        ("SCMP_CMP_LT", 9, {}, {1}),
        ("SCMP_CMP_LE", 9, {}, {1, 9}),
        ("SCMP_CMP_GT", 9, {}, {15}),
        ("SCMP_CMP_GE", 9, {}, {9, 15}),
        ("SCMP_CMP_EQ", 9, {}, {9}),
        ("SCMP_CMP_MASKED_EQ", 8, {"valueTwo": 8}, {9, 15}),
    ],
)
def test_comparison(runtime: Runtime, op: str, value: int, more: dict[str, int], refused: set[int]) -> None:
    arguments = [{"index": 1, "value": value, "op": op, **more}]
    seccomp = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "kill", args=arguments, errnoRet=errno.EXDEV))
    script = "for s in 1 9 15; do sleep 50 & kill -$s $! 2>&1 | grep -q 'ross-dev' && echo $s; done; true"
    assert {int(number) for number in runtime.output(with_profile(runtime, script, seccomp)).split()} == refused


def test_arguments_of_a_rule_are_anded(runtime: Runtime) -> None:
    """CVE-2017-18367: (pid == 1 and signal == 0) refuses that pair alone."""
    arguments = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]
    seccomp = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "kill", args=arguments, errnoRet=errno.EXDEV))
    script = "sleep 50 & kill -0 1; echo $?; kill -0 $!; echo $?; kill -18 1; echo $?"
    assert runtime.output(with_profile(runtime, script, seccomp)).split() == ["1", "0", "0"]


def test_same_call_in_two_rules_is_ored(runtime: Runtime) -> None:
    rules = [
        rule("SCMP_ACT_ERRNO", "kill", args=[{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}]) for value in (9, 15)
    ]
    script = "sleep 50 & for s in 9 15 18; do kill -$s $!; echo $?; done"
    assert runtime.output(with_profile(runtime, script, profile("SCMP_ACT_ALLOW", *rules))).split() == ["1", "1", "0"]


def test_unknown_call_names_are_skipped(runtime: Runtime) -> None:
    """Engines ship one profile for all kernels."""
    bundle = with_profile(runtime, "echo ok", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "a_call_of_the_future")))
    assert runtime.output(bundle) == "ok\n"


def test_agent_without_notifications_is_ignored(runtime: Runtime) -> None:
    """podman and docker hand listenerPath on, whatever the actions are; without SCMP_ACT_NOTIFY nobody is asked."""
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(runtime.tmp / "agent.sock")}
    assert runtime.output(bundle) == "ok\n"


def test_unknown_action(runtime: Runtime) -> None:
    bundle = with_profile(runtime, "true", profile("SCMP_ACT_NONE"))
    assert "SCMP_ACT_NONE" in runtime.refuses(bundle)


def test_unknown_architecture(runtime: Runtime) -> None:
    seccomp = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "swapon"))
    seccomp["architectures"] = ["SCMP_ARCH_NONE"]
    assert "SCMP_ARCH_NONE" in runtime.refuses(with_profile(runtime, "true", seccomp))


def test_exec_has_the_profile_too(runtime: Runtime) -> None:
    bundle = with_profile(runtime, "sleep 100", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "mkdirat")))
    container = runtime.start(bundle)
    assert inspection.parse_status(container.sh("cat /proc/self/status"))["Seccomp"] == "2"
    assert "Operation not permitted" in container.exec("/bin/mkdir", "/work/x").err


EXIT_SOURCE = 'void _start(void) { __asm__ volatile("%s"); }'
EXIT_CODE = {"x86_64": "mov $60, %eax; mov $42, %edi; syscall", "aarch64": "mov x8, #93; mov x0, #42; svc #0"}


@pytest.fixture(scope="module")
def exits_with_42(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose only system call is exit."""
    directory = tmp_path_factory.mktemp("exit")
    (directory / "exit.c").write_text(EXIT_SOURCE % EXIT_CODE[platform.machine()])
    subprocess.run(["gcc", "-static", "-nostdlib", "-o", directory / "exit", directory / "exit.c"], check=True)
    return directory / "exit"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_minimal_profile(runtime: Runtime, exits_with_42: Path, verb: str) -> None:
    """Under no_new_privs the filter comes last: only execve and exit need to be allowed, not close nor openat."""
    bundle = runtime.bundle().args("/work/exit")
    (bundle.rootfs / "work/exit").write_bytes(exits_with_42.read_bytes())
    (bundle.rootfs / "work/exit").chmod(0o755)
    calls = ["execve", "exit"] if verb == "run" else ["execve", "exit", *MINIMAL, "nanosleep", "clock_nanosleep"]
    bundle.linux["seccomp"] = profile("SCMP_ACT_KILL_PROCESS", rule("SCMP_ACT_ALLOW", *calls))
    if verb == "run":
        assert runtime.run(bundle).code == 42
    else:
        container = runtime.start(bundle.args("/bin/sleep", "100"))
        assert container.exec("/work/exit").code == 42


def test_profile_of_moby_size(runtime: Runtime) -> None:
    """Hundreds of names, several architectures, rules with arguments: as engines send it."""
    names = sorted({entry.split("_NR_")[1].split()[0] for entry in _syscall_lines()})
    seccomp = profile("SCMP_ACT_ERRNO", rule("SCMP_ACT_ALLOW", *names), defaultErrnoRet=errno.ENOSYS)
    if platform.machine() == "x86_64":
        seccomp["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert runtime.output(with_profile(runtime, "echo ok", seccomp)) == "ok\n"


def _syscall_lines() -> list[str]:
    text = subprocess.run(
        ["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-xc", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line for line in text.splitlines() if line.startswith("#define __NR_")]


# What a filter may forbid between its loading and the program: with an errno, with the errno 0 ("done"), or by death.
LAST = ["execve", "execveat", "sendmsg", "sendto", "write", "writev", "exit_group", "exit", "kill", "tgkill", "futex"]
CORPUS = Path(__file__).resolve().parents[1] / "unit/corpus/docker.json"


@pytest.mark.parametrize("error", [1, 0, 4, 11])
@pytest.mark.parametrize("way", ["start", "run"])
def test_start_fails_whatever_the_filter_forbids(runtime: Runtime, way: str, error: int) -> None:
    """The program cannot be executed, nobody can be told by a message, and init cannot even end as it would."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.linux["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", *LAST, errnoRet=error))
    fails(runtime, bundle, way, "/bin/true")


@pytest.mark.parametrize("error", [1, 0, 4, 11])
@pytest.mark.parametrize("name", [*LAST, "recvmsg", "accept4", "close", "prctl", "capset", "mmap"])
def test_no_call_without_an_end_before_the_program(runtime: Runtime, name: str, error: int) -> None:
    """Without no_new_privs the filter is in force before the container is created: whatever it says of a call that
    init makes then, each verb ends in time. What is forbidden is told, or it was not needed."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.linux["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", name, errnoRet=error))
    bundle.process["noNewPrivileges"] = False
    bundle.save()
    container = runtime.container(bundle)
    for words in (["create", "--bundle", bundle.path, container.id], ["start", container.id]):
        result = runtime.call(*words, timeout=5)
        assert result.code in (0, 1)
        assert bool(result.err) == bool(result.code), result
        if result.code:
            break


@pytest.mark.parametrize("error", [0, 4])
@pytest.mark.parametrize(
    "name", ["wait4", "poll", "pidfd_open", "pipe2", "fcntl", "clone", "fork", "read", "memfd_create"]
)
def test_no_wait_without_an_end_for_a_hook(runtime: Runtime, name: str, error: int) -> None:
    """The same, where init has a startContainer hook to wait for: with the filter in force, if there is no
    no_new_privs."""
    bundle = runtime.bundle().args("/bin/true").hook("startContainer", "true", timeout=3)
    bundle.linux["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", name, errnoRet=error))
    bundle.process["noNewPrivileges"] = False
    container = runtime.create(bundle)
    result = runtime.call("start", container.id, timeout=8)
    assert bool(result.err) == bool(result.code), result


def fails(runtime: Runtime, bundle: Bundle, way: str, words: str) -> None:
    """By `start` or by `run` the container does not come to life, in time, and the error has these words."""
    if way == "run":
        result = runtime.run(bundle, timeout=5)
        assert result.code in (1, 126, 127), result
        assert words in result.err
        return
    container = runtime.create(bundle)
    assert words in runtime.fails("start", container.id, timeout=5)
    wait_until(lambda: container.state()["status"] == "stopped", "the end of the container")


@pytest.mark.parametrize("way", ["start", "run"])
def test_profile_that_forbids_nearly_all(runtime: Runtime, way: str) -> None:
    """A profile cut to three rules denies the execve by default."""
    seccomp = json.loads(CORPUS.read_text())["linux"]["seccomp"]
    bundle = runtime.bundle().args("/bin/true")
    bundle.linux["seccomp"] = {**seccomp, "architectures": [ARCHITECTURE]}
    fails(runtime, bundle, way, "/bin/true")


@pytest.mark.parametrize("way", ["start", "run"])
def test_why_is_told_through_a_filter(runtime: Runtime, way: str) -> None:
    """That the interpreter of a script is missing is found by execve alone, when the filter is in force."""
    bundle = runtime.bundle().args("/work/script")
    add_script(bundle)
    bundle.linux["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "sendmsg"))
    fails(runtime, bundle, way, "interpreter")


def test_why_is_told_through_a_filter_by_exec(runtime: Runtime) -> None:
    bundle = with_profile(runtime, "sleep 100", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "sendmsg")))
    add_script(bundle)
    container = runtime.start(bundle)
    assert container.exec("/bin/true").code == 0
    result = container.exec("/work/script")
    assert result.code != 0, result
    assert "/work/script" in result.err and "interpreter" in result.err


def add_script(bundle: Bundle) -> None:
    script = bundle.rootfs / "work/script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_start_container_hook_has_the_filter(runtime: Runtime, no_new_privileges: bool) -> None:
    """It is a program of the image, so it may do no more than the container's own."""
    bundle = with_profile(runtime, "true", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "mkdirat")))
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.hook("startContainer", "cat /proc/self/status > /work/status; mkdir /work/made 2> /work/refused; true")
    assert runtime.run(bundle).code == 0
    status = inspection.parse_status((bundle.rootfs / "work/status").read_text())
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", str(int(no_new_privileges)))
    assert not (bundle.rootfs / "work/made").exists()
    assert "Operation not permitted" in (bundle.rootfs / "work/refused").read_text()


def test_start_container_hook_under_a_profile_that_it_alone_has_to_pass(runtime: Runtime) -> None:
    """Under no_new_privs init runs the hook before its own filter is loaded: wait4 and clone need not be allowed."""
    refused = rule("SCMP_ACT_KILL_PROCESS", "clone", "clone3", "fork", "vfork", "wait4", "waitid", "pidfd_open", "poll")
    bundle = with_profile(runtime, "echo ran", profile("SCMP_ACT_ALLOW", refused))
    bundle.hook("startContainer", "echo hook > /work/hook")
    assert runtime.output(bundle) == "ran\n"
    assert (bundle.rootfs / "work/hook").read_text() == "hook\n"


NEEDED = ["sendmsg", "recvmsg", "accept4", "setsid"]


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_call_that_init_needs_without_no_new_privileges(runtime: Runtime, name: str, action: str) -> None:
    """The filter is in force before the container is created, as with runc: what it refuses fails create or start, in
    time and in words."""
    bundle = with_profile(runtime, "true", profile("SCMP_ACT_ALLOW", rule(action, name)))
    bundle.process["noNewPrivileges"] = False
    bundle.save()
    container = runtime.container(bundle)
    created = runtime.call("create", "--bundle", bundle.path, container.id)
    assert created.code == 1, created
    if runtime.kind == "pyoci":
        reason = f"{name}: " if action == "SCMP_ACT_ERRNO" else "the seccomp filter refuses"
        assert reason in created.err
    runtime.assert_clean()


@pytest.mark.parametrize("flags", [[], ["--user", "1000:1000"]])
def test_exec_where_clone3_is_refused(runtime: Runtime, flags: list[str]) -> None:
    """As in docker's own profile: a filter cannot read the flags of clone3."""
    refused = rule("SCMP_ACT_ERRNO", "clone3", errnoRet=errno.ENOSYS)
    bundle = with_profile(runtime, "sleep 100", profile("SCMP_ACT_ALLOW", refused))
    bundle.process["noNewPrivileges"] = False
    container = runtime.start(bundle)
    result = container.exec("/bin/cat", "/proc/self/status", flags=flags)
    assert inspection.parse_status(result.out)["Seccomp"] == "2", result
