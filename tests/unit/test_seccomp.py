# SPDX-License-Identifier: Apache-2.0
"""Profiles, compiled and then loaded into the kernel by a child of the test."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import seccomp
from pyoci.errors import SpecError

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()
# getpid is what the tests try their rules on, as a plain system call with whatever arguments; per machine
# (asm-generic/unistd.h for aarch64), and the call that loads a filter.
GETPID, GETPPID, SECCOMP = {"x86_64": (39, 110, 317), "aarch64": (172, 173, 277)}[MACHINE]
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[MACHINE]
PR_SET_NO_NEW_PRIVS = 38
FUTURE = 2000  # a number that no kernel has yet


def call(number: int, *arguments: int) -> int:
    """The result of a system call, or its -errno."""
    result: int = LIBC.syscall(number, *(ctypes.c_uint64(argument) for argument in arguments))
    return -ctypes.get_errno() if result == -1 else result


def under(program: seccomp.Program, action: Callable[[], Any]) -> Any:
    """What an action gives in a child with that filter; the negative signal if it is killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.close(reader)
            signal.alarm(20)  # should a filter take away the way out
            load(program)
            os.write(writer, json.dumps(action()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    assert status == 0
    return json.loads(text)


def load(program: seccomp.Program) -> None:
    buffer = ctypes.create_string_buffer(program.bpf)
    filter_program = struct.pack("HxxxxxxQ", len(program.bpf) // 8, ctypes.addressof(buffer))
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert call(SECCOMP, 1, program.flags, ctypes.addressof(ctypes.create_string_buffer(filter_program))) == 0


def profile(default: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "architectures": [NATIVE], "syscalls": list(rules), **more}


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **more}


def arg(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    made = {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
    return made if two is None else {**made, "valueTwo": two}


def getpids(*arguments: tuple[int, ...]) -> Callable[[], list[bool]]:
    """Whether getpid with each of these tuples of arguments is let through."""
    return lambda: [call(GETPID, *given) > 0 for given in arguments]


def refusing(*conditions: dict[str, Any]) -> seccomp.Program:
    return seccomp.compile(profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "getpid", args=list(conditions))), None)


# --- actions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ({"action": "SCMP_ACT_ERRNO"}, -errno.EPERM),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}, 0),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 4094}, -4094),
        # Without a tracer the kernel says ENOSYS.
        ({"action": "SCMP_ACT_TRACE"}, -errno.ENOSYS),
        ({"action": "SCMP_ACT_TRACE", "errnoRet": 65535}, -errno.ENOSYS),
    ],
)
def test_results(action: dict[str, Any], result: int) -> None:
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", {"names": ["getpid"], **action}), None)
    assert under(program, lambda: call(GETPID)) == result
    assert under(program, lambda: call(GETPPID)) == os.getpid()


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"])
def test_kills(action: str) -> None:
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", rule(action, "getpid")), None)
    assert under(program, lambda: call(GETPID)) == -signal.SIGSYS
    assert under(program, lambda: call(GETPPID)) == os.getpid()


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
def test_passes(action: str) -> None:
    program = seccomp.compile(profile(action, rule("SCMP_ACT_ERRNO", "getpid")), None)
    assert under(program, lambda: [call(GETPID), call(GETPPID)]) == [-errno.EPERM, os.getpid()]
    reverse = seccomp.compile(profile("SCMP_ACT_ERRNO", rule(action, "getpid", "write", "exit_group")), None)
    assert under(reverse, lambda: [call(GETPID) > 0, call(GETPPID)]) == [True, -errno.EPERM]


def test_default_errno() -> None:
    program = seccomp.compile(
        profile("SCMP_ACT_ERRNO", rule("SCMP_ACT_ALLOW", "write", "exit_group"), defaultErrnoRet=77), None
    )
    assert under(program, lambda: call(GETPID)) == -77


def test_a_profile_without_rules() -> None:
    assert under(seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW"}, None), lambda: call(GETPPID)) == os.getpid()
    assert under(seccomp.compile({"defaultAction": "SCMP_ACT_KILL_PROCESS"}, None), lambda: 0) == -signal.SIGSYS


def test_a_rule_that_repeats_the_default_or_itself() -> None:
    rules = [rule("SCMP_ACT_ALLOW", "getpid"), rule("SCMP_ACT_ERRNO", "getppid"), rule("SCMP_ACT_ERRNO", "getppid")]
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", *rules), None)
    assert under(program, lambda: [call(GETPID) > 0, call(GETPPID)]) == [True, -errno.EPERM]


def test_unknown_names_are_skipped() -> None:
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "no_such_call", "getpid")), None)
    assert under(program, lambda: call(GETPID)) == -errno.EPERM


# --- arguments -------------------------------------------------------------------------------------------------------

BIG = 2**63 + 2**32 + 5


@pytest.mark.parametrize(
    ("condition", "refused"),
    [
        (arg(0, "EQ", 5), [5]),
        (arg(0, "NE", 5), [4, 6, BIG]),
        (arg(0, "LT", 5), [4]),
        (arg(0, "LE", 5), [4, 5]),
        (arg(0, "GE", 6), [6, BIG]),
        (arg(0, "GT", 6), [BIG]),
        (arg(0, "EQ", BIG), [BIG]),
        (arg(0, "MASKED_EQ", 6, 4), [4, 5, BIG]),  # value is the mask, valueTwo what is left under it
    ],
)
def test_operators(condition: dict[str, Any], refused: list[int]) -> None:
    tried = [4, 5, 6, BIG]
    passed = under(refusing(condition), getpids(*((value,) for value in tried)))
    assert [value for value, ok in zip(tried, passed, strict=True) if not ok] == refused


def test_arguments_of_one_entry_are_anded() -> None:
    """CVE-2017-18367: an entry is about those calls that meet all its conditions, not any."""
    program = refusing(arg(0, "EQ", 1), arg(1, "EQ", 0))
    assert under(program, getpids((1, 0), (1, 1), (0, 0), (0, 1))) == [False, True, True, True]
    six = refusing(*(arg(index, "EQ", index + 1) for index in range(6)))
    assert under(six, getpids((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), (0, 2, 3, 4, 5, 6))) == [False, True, True]


def test_conditions_on_one_argument_are_rules_of_their_own() -> None:
    program = refusing(arg(0, "EQ", 1), arg(0, "EQ", 7), arg(1, "EQ", 9))
    assert under(program, getpids((1, 0), (7, 0), (0, 9), (2, 2))) == [False, False, False, True]


def test_entries_are_ored() -> None:
    rules = [rule("SCMP_ACT_ERRNO", "getpid", args=[arg(0, "EQ", value)]) for value in (1, 2)]
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", *rules), None)
    assert under(program, getpids((1,), (2,), (3,))) == [False, False, True]


# --- system calls that are newer than the profile --------------------------------------------------------------------


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_newer_calls_are_enosys(default: str) -> None:
    rules = rule("SCMP_ACT_ALLOW", "write", "exit_group", "faccessat2", "getpid")
    program = seccomp.compile(profile(default, rules), None)
    newest = 439  # faccessat2, the same number on all machines
    assert under(program, lambda: [call(GETPID) > 0, call(FUTURE), call(newest + 1)]) == [
        True,
        -errno.ENOSYS,
        -errno.ENOSYS,
    ]
    old = -errno.EPERM if default == "SCMP_ACT_ERRNO" else -signal.SIGSYS
    assert under(program, lambda: call(GETPPID)) == old, "what is older than the newest named is as the profile says"
    assert under(program, lambda: call(newest - 1)) == old


def test_newer_calls_where_the_default_lets_through() -> None:
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "getpid")), None)
    assert under(program, lambda: call(GETPPID)) == os.getpid()
    plain = seccomp.compile(profile("SCMP_ACT_LOG", rule("SCMP_ACT_KILL", "getpid")), None)
    assert under(plain, lambda: call(FUTURE)) == -errno.ENOSYS, "the kernel's own answer"


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is a way to call an x86_64 kernel")
@pytest.mark.parametrize("architectures", [[NATIVE, "SCMP_ARCH_X86"], [NATIVE, "SCMP_ARCH_X86", "SCMP_ARCH_X32"], []])
def test_x32(architectures: list[str]) -> None:
    """x32 calls come under the same architecture with a bit in their number; where the profile has no x32 they are
    of a wrong architecture, which kills."""
    x32 = 0x40000000
    rules = rule("SCMP_ACT_ALLOW", "write", "exit_group", "getpid")
    program = seccomp.compile({**profile("SCMP_ACT_ERRNO", rules), "architectures": architectures}, None)
    assert under(program, lambda: [call(GETPID) > 0, call(GETPPID), call(FUTURE)]) == [
        True,
        -errno.EPERM,
        -errno.ENOSYS,
    ]
    if "SCMP_ARCH_X32" not in architectures:
        assert under(program, lambda: call(x32 + FUTURE)) == -signal.SIGSYS
        return
    # A kernel without x32 support says ENOSYS for what the filter lets through.
    assert under(program, lambda: call(x32 + GETPPID)) == -errno.EPERM
    assert under(program, lambda: call(x32 + FUTURE)) == -errno.ENOSYS


# --- faults ----------------------------------------------------------------------------------------------------------


def test_architecture_that_libseccomp_does_not_know() -> None:
    """The schema has all of the specification; an older libseccomp may not. The rest of a profile the checks prove."""
    bad = profile("SCMP_ACT_KILL", architectures=["SCMP_ARCH_X86", "SCMP_ARCH_Z80"])
    with pytest.raises(
        SpecError, match=r"^config.json: /linux/seccomp/architectures/1: not known to this libsecc.*Z80'"
    ):
        seccomp.compile(bad, None)


def test_rule_that_libseccomp_refuses() -> None:
    bad = profile("SCMP_ACT_ALLOW", {**rule("SCMP_ACT_ERRNO", "getpid"), "errnoRet": 70000})
    with pytest.raises(SpecError, match=r"^config.json: /linux/seccomp/syscalls/0: refused by libseccomp: .*'getpid'"):
        seccomp.compile(bad, None)


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 5),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
    ],
)
def test_flags(flags: list[str] | None, value: int) -> None:
    more = {} if flags is None else {"flags": flags}
    program = seccomp.compile(profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "getpid"), **more), None)
    assert program.flags == value
    assert under(program, lambda: call(GETPID)) == -errno.EPERM


# --- a profile as engines have it ------------------------------------------------------------------------------------


def engine_profile() -> dict[str, Any]:
    """The default profile of podman, in the form of config.json, for a container with its default capabilities."""
    path = Path("/usr/share/containers/seccomp.json")
    if not path.exists():
        pytest.skip(f"{path} comes with podman, which is not installed")
    document = json.loads(path.read_text())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[MACHINE]
    rules = []
    for entry in document["syscalls"]:
        if entry["includes"].get("caps") or machine not in entry["includes"].get("arches", [machine]):
            continue
        made = {"names": entry["names"], "action": entry["action"], "args": entry["args"] or []}
        if entry["action"] == "SCMP_ACT_ERRNO":
            made["errnoRet"] = entry.get("errnoRet", 1)
        rules.append(made)
    sub = next(entry["subArchitectures"] for entry in document["archMap"] if entry["architecture"] == NATIVE)
    default = {"defaultAction": document["defaultAction"], "defaultErrnoRet": document["defaultErrnoRet"]}
    return {**default, "architectures": [NATIVE, *sub], "syscalls": rules}


def test_a_profile_of_an_engine(tmp_path: Path) -> None:
    asked = engine_profile()
    swapon, bpf = {"x86_64": (167, 321), "aarch64": (224, 280)}[MACHINE]

    def action() -> list[Any]:
        made = tmp_path / "file"
        made.write_text("text")
        return [made.read_text(), call(GETPPID), call(swapon), call(bpf, 99), call(FUTURE)]

    expected = ["text", os.getpid(), -errno.EPERM, -errno.EPERM, -errno.ENOSYS]
    assert under(seccomp.compile(asked, None), action) == expected
