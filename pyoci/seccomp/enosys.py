# SPDX-License-Identifier: Apache-2.0
"""Returns ENOSYS for system calls that are newer than the profile.

A C library tries a new system call first and falls back to an older one on ENOSYS. A profile that is older than the new
call answers with its default action, often EPERM, and the library never tries the fallback. As in runc, the program
therefore begins with a few instructions that return ENOSYS for every number above those that the profile names.
"""

from __future__ import annotations

from struct import pack

_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_X32_BIT = 0x40000000  # __X32_SYSCALL_BIT


class Section:
    """One audit architecture.

    newest: the highest number that the profile names; x32: the same for x32 calls, -1 if the profile has none;
    has_x32: whether the architecture has x32 calls; multiplexes: whether number 0 stands for unknown calls (s390).
    """

    __slots__ = ("architecture", "has_x32", "multiplexes", "newest", "x32")

    def __init__(self, architecture: int, newest: int, x32: int, has_x32: bool, multiplexes: bool) -> None:
        self.architecture = architecture
        self.newest = newest
        self.x32 = x32
        self.has_x32 = has_x32
        self.multiplexes = multiplexes


def stub(sections: list[Section], refusal: int) -> bytes:
    """Returns the instructions to put before a program. refusal: the return value of a filter that means ENOSYS.

    For other calls they fall through to the program.
    """
    code: list[bytes] = []
    for section in reversed(sections):
        body = _body(section, refusal)
        # Jumps to the program, over the sections that follow this one.
        body.append(_instruction(_JUMP, value=len(code)))
        code = [_instruction(_JUMP_EQUAL, 0, len(body), section.architecture), *body, *code]
    return b"".join([_instruction(_LOAD, value=_ARCHITECTURE), *code] if code else [])


def _body(section: Section, refusal: int) -> list[bytes]:
    """Returns the instructions of one section. They end with the refusal; other calls jump over it."""
    code = [_instruction(_JUMP_GREATER, 0, 1, section.newest), _instruction(_RETURN, value=refusal)]
    if section.has_x32:
        ours = [_instruction(_JUMP, value=2)]  # the profile has no x32 calls: leave them to the program
        if section.x32 >= 0:
            ours = [_instruction(_JUMP_GREATER, 1, 2, section.x32)]
        code = [_instruction(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT), *ours, *code]
    if section.multiplexes:
        code = [_instruction(_JUMP_EQUAL, 0, 1, 0), _instruction(_RETURN, value=refusal), *code]
    return [_instruction(_LOAD, value=_NUMBER), *code]


def _instruction(code: int, if_true: int = 0, if_false: int = 0, value: int = 0) -> bytes:
    return pack("=HBBI", code, if_true, if_false, value)
