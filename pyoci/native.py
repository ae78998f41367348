# SPDX-License-Identifier: Apache-2.0
"""The only module that imports the C extension. Turns errno into exceptions.

Every function is a thin wrapper of the C function of the same name (csrc/native/native.h). It raises NativeError, an
OSError that names the step and the object.
"""

from __future__ import annotations

import os

from pyoci._native import ffi, lib
from pyoci.errors import plain
from pyoci.protocol import SYNC_REPORT_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIBEXEC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libexec")

# Parsed once, and by the launcher image when it is built.
_SYNC_FAILURE = ffi.typeof("struct sync_failure *")
_SYNC_HEADER = ffi.typeof("struct sync_header *")
_INT32 = ffi.typeof("int32_t *")
_CHARS = ffi.typeof("char[]")
_INTS = ffi.typeof("int[]")
_PAIR = ffi.typeof("int[2]")
_SPAWN = ffi.typeof("struct spawn *")
_HOOK_PROGRAM = ffi.typeof("struct hook_program *")
_SCHEDULING = ffi.typeof("struct scheduling *")
_TEXTS = ffi.typeof("char *[]")
_FAILURE_SIZE = ffi.sizeof("struct sync_failure")
_HEADER_SIZE = ffi.sizeof("struct sync_header")


class NativeError(OSError):
    """A system call of the C extension failed: ``errno``, and ``step``, its name."""

    def __init__(self, number: int, step: str, about: str = "") -> None:
        self.step = step
        super().__init__(number, f"{step}: {os.strerror(number)}", about or None)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}" if self.filename else str(self.strerror)


class TimedOut(NativeError):
    """A wait has exceeded its time."""


def _checked(value: int, step: str, about: str = "") -> int:
    if value >= 0:
        return value
    if value == -110:  # ETIMEDOUT
        raise TimedOut(110, step, about)
    raise NativeError(-value, step, about)


class Failure:
    """A report of init about a failed operation (struct sync_failure)."""

    __slots__ = ("errno", "kind", "index", "step", "path", "where", "detail")

    def __init__(self, errno: int, payload: bytes) -> None:
        head = ffi.new(_SYNC_FAILURE)
        ffi.memmove(head, payload, min(len(payload), _FAILURE_SIZE))
        self.errno = errno
        self.kind = head.kind
        self.index = head.op_index
        rest = payload[_FAILURE_SIZE:]
        texts = []
        for length in (head.step, head.path, head.where, head.detail):
            texts.append(plain(rest[:length].decode("utf-8", "replace"), length))
            rest = rest[length:]
        self.step, self.path, self.where, self.detail = texts


class Message:
    """A message of a sync socket. kind: a SYNC_* number of pyoci.protocol; sender: the sender's PID from the kernel
    (SO_PASSCRED), or 0."""

    __slots__ = ("kind", "payload", "sender", "value")

    def __init__(self, kind: int, value: int, sender: int, payload: bytes) -> None:
        self.kind = kind
        self.value = value
        self.sender = sender
        self.payload = payload

    def failure(self) -> Failure:
        """Returns the report of a SYNC_FAILED."""
        return Failure(self.value, self.payload)


def init_memfd(path: str) -> int:
    """Returns a sealed copy of the program at path, as a descriptor for ``spawn``."""
    return _checked(lib.pyoci_init_memfd(os.fsencode(path)), "memfd_create", path)


def plan_memfd(plan: bytes) -> int:
    """Returns the plan (pyoci.plan.encode) as a sealed memfd."""
    return _checked(lib.pyoci_plan_memfd(plan, len(plan)), "memfd_create", "plan")


def spawn(init: int, fds: Sequence[int], plan: int, sync: int) -> tuple[int, int]:
    """Clones a child and executes init in it. fds[n] becomes descriptor n of the child (-1: none); plan and sync are
    numbers of the child. Returns (pid, pidfd). The child may not have executed init yet."""
    numbers = ffi.new(_INTS, fds)
    args = ffi.new(_SPAWN)
    args.init, args.plan, args.sync = init, plan, sync
    args.fds, args.count = numbers, len(fds)
    _checked(lib.pyoci_spawn(args), "clone3")
    return args.pid, args.pidfd


def socketpair() -> tuple[int, int]:
    """Returns a SOCK_SEQPACKET pair, close-on-exec. The first end receives the credentials of senders."""
    pair = ffi.new(_PAIR)
    _checked(lib.pyoci_socketpair(pair), "socketpair")
    return pair[0], pair[1]


def listen(path: str) -> int:
    """Returns a SOCK_SEQPACKET socket that listens at path (of any length)."""
    return _checked(lib.pyoci_listen(os.fsencode(path)), "bind", path)


def connect(path: str) -> int:
    """Returns a connection to the SOCK_SEQPACKET socket at path."""
    return _checked(lib.pyoci_connect(os.fsencode(path)), "connect", path)


def send(fd: int, message: int, value: int = 0, payload: bytes = b"", passed: int = -1) -> None:
    """Sends one sync message, with the descriptor ``passed`` if that is one."""
    _checked(lib.pyoci_send(fd, message, value, payload, len(payload), passed), "sendmsg", "sync")


def report_memory() -> int:
    """Returns a descriptor of new memory for init's report of a failure (csrc/plan.h)."""
    return _checked(lib.pyoci_report_memory(), "memfd_create", "report memory")


def read_report(descriptor: int) -> Message:
    """Returns what init has written: a SYNC_FAILED, or SYNC_NONE. The container may have written it as well."""
    data = os.pread(descriptor, SYNC_REPORT_BYTES, 0)
    head = ffi.new(_SYNC_HEADER)
    size = _HEADER_SIZE
    ffi.memmove(head, data, size)
    return Message(head.message, head.value, 0, data[size:][: head.size])


def receive(fd: int, timeout: int = -1) -> Message:
    """Returns the next sync message, with kind SYNC_NONE at the end. timeout: in ms. Raises TimedOut, and what
    :func:`check_interrupt` raises."""
    while _interrupts >= 0 and wait_two(_interrupts, fd, timeout) & 1:
        check_interrupt()
    head = ffi.new(_SYNC_HEADER)
    sender = ffi.new(_INT32)
    buffer = ffi.new(_CHARS, 4096)
    size = lib.pyoci_receive(fd, timeout, head, sender, buffer, 4096)
    if size == -104:  # ECONNRESET: the peer ended without reading everything; reported once, before its last message
        size = lib.pyoci_receive(fd, timeout, head, sender, buffer, 4096)
    _checked(size, "recvmsg", "sync")
    return Message(head.message, head.value, sender[0], ffi.buffer(buffer, size)[:])


def spawn_hook(path: str, args: Sequence[str], env: Sequence[str] | None, stdin: int, output: int) -> int:
    """Starts a program in a session of its own. The kernel kills it if this process is killed. Returns its PID.

    env: ``NAME=value`` lines, or None for the environment of this process; stdin: becomes 0; output: becomes 1 and 2.
    No other descriptor is passed on.
    """
    kept = [ffi.new(_CHARS, os.fsencode(path))]
    hook = ffi.new(_HOOK_PROGRAM, {"path": kept[0], "input": stdin, "output": output})
    rows = [_texts(args, kept)] if env is None else [_texts(args, kept), _texts(env, kept)]
    hook.args = rows[0]
    hook.env = ffi.NULL if env is None else rows[1]
    return _checked(lib.pyoci_spawn_hook(hook), "execve", path)


def _texts(lines: Sequence[str], kept: list[Any]) -> Any:
    """Returns a char ** that ends with NULL. Its texts live as long as ``kept``."""
    texts = [ffi.new(_CHARS, os.fsencode(line)) for line in lines]
    kept += texts
    return ffi.new(_TEXTS, [*texts, ffi.NULL])


def ns_type(fd: int) -> int:
    """Returns the CLONE_NEW* type of a namespace descriptor (ioctl_ns(2))."""
    return _checked(lib.pyoci_ns_type(fd), "NS_GET_NSTYPE")


def pidfd_open(pid: int) -> int:
    """pidfd_open(2)."""
    return _checked(lib.pyoci_pidfd_open(pid), "pidfd_open", str(pid))


def pidfd_send_signal(pidfd: int, signum: int) -> None:
    """pidfd_send_signal(2)."""
    _checked(lib.pyoci_pidfd_send_signal(pidfd, signum), "pidfd_send_signal")


def sched_setattr(
    pid: int, policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> None:
    """sched_setattr(2)."""
    wanted = ffi.new(_SCHEDULING, (0, policy, flags, nice, priority, runtime, deadline, period))
    _checked(lib.pyoci_sched_setattr(pid, wanted), "sched_setattr")


def wait_readable(fd: int, timeout: int) -> bool:
    """Waits until a descriptor is readable (a pidfd: its process has ended). Returns False after ``timeout`` ms."""
    value = lib.pyoci_wait_readable(fd, timeout)
    if value == -110:
        return False
    return _checked(value, "poll") == 0


def bpf(command: int, attr: bytes) -> int:
    """bpf(2) with a union bpf_attr in ``attr``. Returns the descriptor or 0."""
    buffer = ffi.new(_CHARS, attr)
    return _checked(lib.pyoci_bpf(command, buffer, len(attr)), "bpf")


def mount(source: str, target: str, fs_type: str, flags: int = 0, data: str = "") -> None:
    """mount(2) in this process's mount namespace."""
    value = lib.pyoci_mount(source.encode(), os.fsencode(target), fs_type.encode(), flags, os.fsencode(data))
    _checked(value, "mount", target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(lib.pyoci_umount(os.fsencode(target), flags), "umount2", target)


def prctl(option: int, argument: int) -> None:
    """prctl(2) with one argument."""
    _checked(lib.pyoci_prctl(option, argument), "prctl", str(option))


def block_signals(signals: int) -> None:
    """Blocks a set of signals (bit N-1: signal N), to be read from a :func:`signalfd` (sigprocmask(2), SIG_BLOCK)."""
    _checked(lib.pyoci_block_signals(signals), "rt_sigprocmask")


def signalfd(signals: int) -> int:
    """Returns a signalfd(2) for a set of blocked signals, close-on-exec and non-blocking."""
    return _checked(lib.pyoci_signalfd(signals), "signalfd")


def take_signal(fd: int) -> int:
    """Returns the number of the next signal of a signalfd, or 0 if there is none."""
    return _checked(lib.pyoci_take_signal(fd), "read", "signalfd")


def signal_ignored(signum: int) -> bool:
    """Returns whether a signal is ignored, which children inherit (sigaction(2))."""
    return _checked(lib.pyoci_signal_ignored(signum), "sigaction") == 1


def signal_default(signum: int) -> None:
    """Resets a signal to its default action."""
    _checked(lib.pyoci_signal_default(signum), "sigaction")


def wait_two(first: int, second: int, timeout: int = -1) -> int:
    """Waits until one of two descriptors is readable. Returns 1 (the first), 2 (the second) or 3 (both).

    timeout: in ms. Raises TimedOut.
    """
    return _checked(lib.pyoci_wait_two(first, second, timeout), "poll")


_interrupts = -1


def interrupt_by(signals: int) -> None:
    """Lets a set of blocked signals end ``receive``, and the wait for a hook, through :func:`check_interrupt`.

    A handler would not do: if it runs just before a wait, the wait does not end.
    """
    global _interrupts
    _interrupts = signalfd(signals)


def interrupts() -> int:
    """Returns a descriptor that waits must poll too, and call :func:`check_interrupt` if it is readable; -1 for
    none."""
    return _interrupts


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if one of the signals has been received, unless the caller had it ignored."""
    if _interrupts < 0:
        return
    taken = []
    while number := take_signal(_interrupts):  # all of them: signals that arrive together are one interrupt
        taken.append(number)
    for number in taken:
        if not signal_ignored(number):
            raise KeyboardInterrupt


def end_interrupts() -> None:
    """Ends interrupts: later signals only stay blocked. Raises KeyboardInterrupt if one has been received before."""
    global _interrupts
    try:
        check_interrupt()
    finally:
        if _interrupts >= 0:
            os.close(_interrupts)
            _interrupts = -1
