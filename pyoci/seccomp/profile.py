# SPDX-License-Identifier: Apache-2.0
"""Compiles a profile with libseccomp (seccomp_init(3) and its neighbours; runtime-spec, "Seccomp").

Imported only if a program is not in the cache.
"""

from __future__ import annotations

import errno
import os

from pyoci._seccomp import ffi, lib
from pyoci.errors import SeccompError, SpecError
from pyoci.seccomp import enosys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.config.documents import Seccomp, Syscall, SyscallArg

    Context = Any  # cffi's scmp_filter_ctx

_AT = "/linux/seccomp"
_NUMBERED = {"SCMP_ACT_ERRNO": lib.pyoci_act_errno, "SCMP_ACT_TRACE": lib.pyoci_act_trace}
_UNKNOWN = -1  # __NR_SCMP_ERROR
_BINARY_TREE = 2
_BINARY_TREE_FROM = 32  # rules; libseccomp up to 2.5.4 builds a wrong tree for none, and short lists gain nothing


def compile(seccomp: Seccomp) -> bytes:
    """Returns the BPF program of a profile that the checks of pyoci/config have passed.

    Raises SpecError for what this libseccomp does not know, or refuses; SeccompError where it fails.
    """
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    context = lib.seccomp_init(default)
    if context == ffi.NULL:
        raise SeccompError("seccomp_init: refused by libseccomp")
    try:
        tokens = _add_architectures(context, seccomp.get("architectures", []))
        rules = seccomp.get("syscalls", [])
        if sum(len(rule["names"]) for rule in rules) > _BINARY_TREE_FROM:
            _checked(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, _BINARY_TREE), "seccomp_attr_set")
        for index, rule in enumerate(rules):
            _add_rule(context, rule, default, f"{_AT}/syscalls/{index}")
        return _enosys_stub(seccomp, default, tokens) + _export(context)
    finally:
        lib.seccomp_release(context)


def library() -> str:
    """Returns the path of the libseccomp in use: the shared library, or the extension that it is linked into."""
    from pyoci import _seccomp

    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")
            if "/libseccomp.so" in line:
                return path[1] + path[2]
    return str(_seccomp.__file__)


def _action(name: str, errno_ret: int | None) -> int:
    """Returns libseccomp's number for an action."""
    if name in _NUMBERED:
        return int(_NUMBERED[name](errno.EPERM if errno_ret is None else errno_ret))
    return int(getattr(lib, name))


def _add_architectures(context: Context, names: list[str]) -> list[int]:
    """Adds the architectures to the native one. Returns the tokens of all of them."""
    tokens = [int(lib.seccomp_arch_native())]
    for index, name in enumerate(names):
        token = int(lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode()))
        if not token:
            hint = "leave it out, or use a newer libseccomp"
            raise SpecError(f"{_AT}/architectures/{index}", "not known to this libseccomp", name, hint)
        if token in tokens:
            continue
        _accepted(lib.seccomp_arch_add(context, token), f"{_AT}/architectures/{index}", name)
        tokens.append(token)
    return tokens


def _add_rule(context: Context, rule: Syscall, default: int, pointer: str) -> None:
    action = _action(rule["action"], rule.get("errnoRet"))
    if action == default:
        return  # it changes nothing, and libseccomp would report an error
    conditions = [_condition(arg) for arg in rule.get("args", [])]
    chains = [conditions]
    if len({condition["arg"] for condition in conditions}) < len(conditions):
        # All conditions of an entry must hold (CVE-2017-18367 was an "or" here). But libseccomp has no rules with two
        # conditions on one argument. As in runc and crun, each condition then becomes a rule of its own, and profiles
        # are written with that in mind.
        chains = [[condition] for condition in conditions]
    for name in rule["names"]:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN:
            continue  # profiles also name system calls of newer kernels and of other architectures
        for chain in chains:
            array = ffi.new("struct scmp_arg_cmp[]", chain)
            result = lib.seccomp_rule_add_array(context, action, number, len(chain), array)
            if result != -errno.EEXIST:  # a rule may occur twice
                _accepted(result, pointer, name)


def _condition(arg: SyscallArg) -> dict[str, int]:
    return {
        "arg": arg["index"],
        "op": getattr(lib, arg["op"]),
        "datum_a": arg["value"],
        "datum_b": arg.get("valueTwo", 0),
    }


def _enosys_stub(seccomp: Seccomp, default: int, tokens: list[int]) -> bytes:
    """Returns the stub of enosys.py; empty if the default action allows calls or returns ENOSYS itself."""
    refusal = lib.pyoci_act_errno(errno.ENOSYS)
    if default == refusal or seccomp["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        return b""
    names = {name.encode() for rule in seccomp.get("syscalls", []) for name in rule["names"]}
    newest: dict[int, int] = {}
    for token in tokens:
        newest[token] = max((lib.seccomp_syscall_resolve_name_arch(token, name) for name in names), default=_UNKNOWN)
    x32 = newest.pop(lib.SCMP_ARCH_X32, _UNKNOWN)
    sections = [
        enosys.Section(
            token,
            number,
            x32 if token == lib.SCMP_ARCH_X86_64 else _UNKNOWN,
            token == lib.SCMP_ARCH_X86_64,
            token in (lib.SCMP_ARCH_S390, lib.SCMP_ARCH_S390X),
        )
        for token, number in newest.items()
        if number > 0
    ]
    return enosys.stub(sections, refusal)


def _export(context: Context) -> bytes:
    handle = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _checked(lib.seccomp_export_bpf(context, handle), "seccomp_export_bpf")
        size = os.fstat(handle).st_size
        return os.pread(handle, size, 0)
    finally:
        os.close(handle)


def _accepted(result: int, pointer: str, name: str) -> None:
    """Raises SpecError if libseccomp refused a part of the profile."""
    if result < 0:
        raise SpecError(pointer, f"refused by libseccomp: {os.strerror(-result).lower()}", name)


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise SeccompError(f"{what}: libseccomp: {os.strerror(-result).lower()}")
