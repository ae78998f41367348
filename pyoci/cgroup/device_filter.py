# SPDX-License-Identifier: Apache-2.0
"""Device rules of a v2 cgroup: generates an eBPF program, and loads and attaches it with bpf(2).

The kernel passes a ``struct bpf_cgroup_dev_ctx`` (access and type in one word, major, minor). 1 allows the access.
Sources: <linux/bpf.h>, Documentation/bpf/standardization/instruction-set.rst, bpf(2).
"""

from __future__ import annotations

import os
from struct import Struct, pack, unpack

from pyoci.cgroup import files
from pyoci.cgroup.devices import ALL, Rule
from pyoci.cgroup.verdicts import MINOR_BITS, Verdicts
from pyoci.errors import CgroupError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.verdicts import Range

# bpf(2) commands, program type, attach type, attach flags
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI, _REPLACE = 2, 4
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS: no cgroup has more

# Opcodes: class, source (register or immediate) and operation
_LOAD_WORD = 0x61  # dst = *(u32 *)(src + off)
_MOVE, _MOVE_REGISTER, _AND, _OR_REGISTER = 0xB4, 0xBC, 0x54, 0x4C  # 32 bits
_SHIFT_LEFT, _SHIFT_RIGHT = 0x64, 0x74
_IF, _IF_NOT, _IF_FROM, _IF_ABOVE, _IF_BELOW = 0x16, 0x56, 0x36, 0x26, 0xA6  # jumps: 32 bits, with an immediate
_EXIT = 0x95
_R0, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _DEVICE = range(7)
_BLOCK, _CHARACTER = 1, 2  # BPF_DEVCG_DEV_*
# Of the two types one is above the other; said so, the verifier knows which of them it is in what follows.
_SKIP_OTHERS = {"b": (_IF_ABOVE, _BLOCK), "c": (_IF_BELOW, _CHARACTER)}

_PACK = Struct("=BBhi").pack  # struct bpf_insn
_MOST_INSTRUCTIONS = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS
_MOST_CROSSINGS = 100_000  # each may become a range
_AT_ONCE = 5000  # ranges that one tree tells apart: at 6 instructions for each its jumps have offsets of 16 bits


def allows_all(ordered: list[Rule]) -> bool:
    """Returns whether the rules allow everything, so that no program is needed."""
    return all(rule.allow for rule in ordered)


def program(ordered: list[Rule]) -> bytes:
    """The instructions for rules in their order, the last one strongest.

    A request may ask for reading and writing at once. Each of its bits is decided by the last rule that fits device
    and bit; what no rule decides is refused. What comes out is a function of the device number that changes at a few
    numbers only, so the program searches for the range between two of them. Its length, and the time that the kernel
    takes to verify it, grow as the list does. Raises SpecError for a list that is too long.
    """
    code = [
        _instruction(_LOAD_WORD, _ACCESS, _CONTEXT, 0),
        _instruction(_MOVE_REGISTER, _TYPE, _ACCESS),
        _instruction(_AND, _TYPE, immediate=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, immediate=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
        _instruction(_MOVE_REGISTER, _DEVICE, _MAJOR),
        _instruction(_SHIFT_LEFT, _DEVICE, immediate=MINOR_BITS),
        _instruction(_OR_REGISTER, _DEVICE, _MINOR),
    ]
    verdicts = Verdicts(ordered)
    for kind in "bc":
        skip = _SKIP_OTHERS[kind]
        if verdicts.crossings(kind) > _MOST_CROSSINGS:
            raise _too_many(ordered)
        for minor in verdicts.minors(kind):
            code += _search([(*skip, _TYPE), (_IF_NOT, minor, _MINOR)], verdicts.ranges_of_minor(kind, minor))
        code += _search([(*skip, _TYPE)], verdicts.ranges(kind))
        if len(code) > _MOST_INSTRUCTIONS:
            raise _too_many(ordered)
    return b"".join([*code, *_LEAVES[0]])


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


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    # Major and minor numbers are unsigned. The field has the same 32 bits, but is signed.
    signed = immediate - 2**32 if immediate >= 2**31 else immediate
    return _PACK(opcode, source << 4 | target, offset, signed)


def _too_many(ordered: list[Rule]) -> SpecError:
    return SpecError("/linux/resources/devices", "too many rules for a device filter of cgroup v2", len(ordered))


# What a device is allowed: the answer is 1 if no bit of the request is left.
_LEAVES = [
    [
        _instruction(_MOVE, _R0, immediate=1),
        _instruction(_AND, _ACCESS, immediate=~allowed & ALL),
        _instruction(_IF, _ACCESS, offset=1),
        _instruction(_MOVE, _R0, immediate=0),
        _instruction(_EXIT),
    ]
    for allowed in range(ALL)
]
# The rest of it would be dead code, and the kernel takes that out by moving all that follows, for each leaf.
_LEAVES.append([_instruction(_MOVE, _R0, immediate=1), _instruction(_EXIT)])


def _search(guards: list[tuple[int, int, int]], ranges: list[Range]) -> list[bytes]:
    """Answers for the devices of a type, and perhaps of a minor number; the others go on behind it.

    guards: (jump, immediate, register) of what leads on.
    """
    code: list[bytes] = []
    for first in range(0, len(ranges), _AT_ONCE):
        part = ranges[first : first + _AT_ONCE]
        after = ranges[first + _AT_ONCE : first + _AT_ONCE + 1]
        tests = [*guards, (_IF_FROM, after[0][0], _DEVICE)] if after else guards
        tree = _tree(part)
        for place, (jump, immediate, register) in enumerate(tests):
            code.append(_instruction(jump, register, offset=len(tree) + len(tests) - place - 1, immediate=immediate))
        code += tree
    return code


def _tree(ranges: list[Range]) -> list[bytes]:
    if len(ranges) == 1:
        return _LEAVES[ranges[0][1]]
    middle = len(ranges) // 2
    below = _tree(ranges[:middle])
    jump = _instruction(_IF_FROM, _DEVICE, offset=len(below), immediate=ranges[middle][0])
    return [jump, *below, *_tree(ranges[middle:])]


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
