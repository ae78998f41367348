# SPDX-License-Identifier: Apache-2.0
"""Device rules of a v2 cgroup: generates an eBPF program, and loads and attaches it with bpf(2).

The kernel passes a ``struct bpf_cgroup_dev_ctx`` (access and type in one word, major, minor). 1 allows the access.
Sources: <linux/bpf.h>, Documentation/bpf/standardization/instruction-set.rst, bpf(2).
"""

from __future__ import annotations

import os
from struct import pack, unpack

from pyoci.cgroup import files
from pyoci.cgroup.devices import ALL, ANY, Rule
from pyoci.errors import CgroupError

# bpf(2) commands, program type, attach type, attach flags
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI, _REPLACE = 2, 4
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS: no cgroup has more

# Opcodes: class, source (register or immediate) and operation
_LOAD_WORD = 0x61  # dst = *(u32 *)(src + off)
_MOVE, _MOVE_REGISTER = 0xB4, 0xBC  # 32 bits
_AND, _SHIFT_RIGHT = 0x54, 0x74
_JUMP, _JUMP_IF_NOT, _JUMP_IF_SET = 0x05, 0x56, 0x46  # always; 32-bit comparisons with an immediate
_EXIT = 0x95
_R0, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)
_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

_INSTRUCTION = "=BBhi"


def allows_all(ordered: list[Rule]) -> bool:
    """Returns whether the rules allow everything, so that no program is needed."""
    return all(rule.allow for rule in ordered)


def program(ordered: list[Rule]) -> bytes:
    """Returns the instructions for rules, of which the last one that matches counts.

    A request may ask for reading and writing at once. The last rule that matches the device and the bit decides each of
    its bits. So the program goes through the rules backwards, with the bits that are still undecided. A rule that
    allows removes its bits; if none is left, access is allowed. A rule that denies one of them ends with a refusal.
    What no rule decides is refused.
    """
    code = [
        _instruction(_LOAD_WORD, _ACCESS, _CONTEXT, 0),
        _instruction(_MOVE_REGISTER, _TYPE, _ACCESS),
        _instruction(_AND, _TYPE, immediate=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, immediate=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in reversed(ordered):
        code += _block(rule)
    return b"".join([*code, *_answer(0)])


def attach(directory: str, instructions: bytes) -> None:
    """Attaches the program to a cgroup and replaces the existing ones. Raises CgroupError.

    All programs of a cgroup must allow an access. One old program is replaced in one step, and others, which only
    another manager can have left, are detached afterwards. The group is never without a filter.
    """
    group = _open(directory)
    try:
        handle = _load(directory, instructions)
        try:
            _replace(directory, group, handle)
        finally:
            os.close(handle)
    finally:
        os.close(group)


def detach(directory: str) -> None:
    """Detaches all device programs from a cgroup. Raises CgroupError."""
    group = _open(directory)
    try:
        for handle in _attached(directory, group):
            try:
                _detach(directory, group, handle)
            finally:
                os.close(handle)
    finally:
        os.close(group)


def _block(rule: Rule) -> list[bytes]:
    """Returns a block that decides the rule's bits of a request for its device, and else goes on to the next block."""
    if rule.allow:
        settle = [
            _instruction(_AND, _ACCESS, immediate=~rule.access & ALL),
            _instruction(_JUMP_IF_NOT, _ACCESS, offset=2),
            *_answer(1),
        ]
    else:
        # There is no "jump if none is set", so jump over a jump.
        settle = [
            _instruction(_JUMP_IF_SET, _ACCESS, offset=1, immediate=rule.access),
            _instruction(_JUMP, offset=2),
            *_answer(0),
        ]
    tests = [(_MAJOR, rule.major), (_MINOR, rule.minor), (_TYPE, _TYPES.get(rule.kind, ANY))]
    code: list[bytes] = []
    for register, wanted in tests:
        if wanted != ANY:
            code = [_instruction(_JUMP_IF_NOT, register, offset=len(code) + len(settle), immediate=wanted), *code]
    return code + settle


def _answer(value: int) -> list[bytes]:
    return [_instruction(_MOVE, _R0, immediate=value), _instruction(_EXIT)]


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    # Major and minor numbers are unsigned. The field has the same 32 bits, but is signed.
    signed = immediate - 2**32 if immediate >= 2**31 else immediate
    return pack(_INSTRUCTION, opcode, source << 4 | target, offset, signed)


def _open(directory: str) -> int:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CgroupError(f"open cgroup {directory}: {files.reason(error)}") from error


def _load(directory: str, instructions: bytes) -> int:
    licence = b"Apache-2.0\0"
    count = len(instructions) // 8
    attributes = pack("=IIQQ", _TYPE_CGROUP_DEVICE, count, _address(instructions), _address(licence))
    return _bpf(directory, "BPF_PROG_LOAD", _PROG_LOAD, attributes)


def _replace(directory: str, group: int, handle: int) -> None:
    old = _attached(directory, group)
    try:
        single = old[0] if len(old) == 1 else 0
        flags = _ALLOW_MULTI | (_REPLACE if single else 0)
        attributes = pack("=IIIII", group, handle, _CGROUP_DEVICE, flags, single)
        _bpf(directory, "BPF_PROG_ATTACH", _PROG_ATTACH, attributes)
        for other in old if not single else ():
            _detach(directory, group, other)
    finally:
        for other in old:
            os.close(other)


def _attached(directory: str, group: int) -> list[int]:
    """Returns descriptors of the device programs of the cgroup itself, for the caller to close."""
    ids = bytearray(4 * _MOST_PROGRAMS)
    attributes = pack("=IIIIQI", group, _CGROUP_DEVICE, 0, 0, _address(ids), _MOST_PROGRAMS)
    _bpf(directory, "BPF_PROG_QUERY", _PROG_QUERY, attributes)
    # The kernel fills in the IDs, which are never 0.
    found = [number for number in unpack(f"={_MOST_PROGRAMS}I", ids) if number]
    return [_bpf(directory, "BPF_PROG_GET_FD_BY_ID", _PROG_GET_FD_BY_ID, pack("=I", number)) for number in found]


def _detach(directory: str, group: int, handle: int) -> None:
    _bpf(directory, "BPF_PROG_DETACH", _PROG_DETACH, pack("=III", group, handle, _CGROUP_DEVICE))


def _address(buffer: bytes | bytearray) -> int:
    """Returns the address of a buffer, for a pointer in union bpf_attr. The caller keeps the buffer during the call."""
    from pyoci import native

    ffi = native.ffi  # type: ignore[attr-defined]  # cffi has no types
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))


def _bpf(directory: str, name: str, command: int, attributes: bytes) -> int:
    from pyoci import native

    try:
        return native.bpf(command, attributes)
    except OSError as error:
        raise CgroupError(f"attach the device filter to cgroup {directory}: {name}: {files.reason(error)}") from error
