# SPDX-License-Identifier: Apache-2.0
"""Callers of a runtime that may not do everything: a prefix for its command."""

from __future__ import annotations

import platform
import sys

# seccomp(2): a filter of <linux/filter.h> that answers EPERM to some system calls, by their numbers
_PROGRAM = r"""
import ctypes, os, struct, sys
count = int(sys.argv[1])
numbers, command = list(map(int, sys.argv[2 : 2 + count])), sys.argv[2 + count :]
rows = [(0x20, 0, 0, 0)]  # A = nr
rows += [(0x15, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]  # if A == number: the end
rows += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
program = struct.pack("@HP", len(rows), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    raise OSError(ctypes.get_errno(), "prctl PR_SET_SECCOMP")
os.execv(command[0], command)
"""
_NUMBERS = {
    "x86_64": {"poll": 7, "ppoll": 271},
    "aarch64": {"ppoll": 73},
}


def denied(*names: str) -> list[str]:
    """A caller whose seccomp filter answers EPERM to these system calls."""
    known = _NUMBERS[platform.machine()]
    numbers = [str(known[name]) for name in names if name in known]
    return [sys.executable, "-IS", "-c", _PROGRAM, str(len(numbers)), *numbers]


def user(number: int) -> list[str]:
    """Another user than root."""
    return ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"]
