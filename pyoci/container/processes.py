# SPDX-License-Identifier: Apache-2.0
"""Identifies processes of the host, even if their PIDs are reused (proc_pid_stat(5), pidfd_open(2))."""

from __future__ import annotations

import os

from pyoci import native
from pyoci.kernel.signals import SIGCHLD

_DEAD = frozenset("ZXx")


def expect_children() -> None:
    """Resets SIGCHLD if the caller had it ignored. The status of children would be lost otherwise (waitpid(2))."""
    if native.signal_ignored(SIGCHLD):
        native.signal_default(SIGCHLD)


def start_time(pid: int) -> int:
    """Returns when a living process started, in clock ticks since boot; 0 if it is dead or a zombie."""
    fields = _stat(pid)
    if len(fields) < 20 or fields[0].decode() in _DEAD:
        return 0
    return int(fields[19])


def is_stopped(pid: int) -> bool:
    """Returns whether a process is stopped, by a signal or by a tracer."""
    return _stat(pid)[:1] in ([b"T"], [b"t"])


def _stat(pid: int) -> list[bytes]:
    """Returns the fields of /proc/PID/stat from the state on; none if there is no such process."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        line = os.read(descriptor, 1024)
    except ProcessLookupError:
        return []
    finally:
        os.close(descriptor)
    # The name in parentheses may contain anything, so fields are counted from its end.
    return line[line.rfind(b")") + 2 :].split()


def boot_id() -> str:
    """Returns a text that identifies this boot of the kernel (random(4))."""
    descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64).decode().strip()
    finally:
        os.close(descriptor)


def open_same(pid: int, started: int) -> int:
    """Returns a pidfd of the process with this PID and start time, or -1 if it is gone.

    The pidfd is opened before the start time is compared, so that the process cannot be replaced in between.
    """
    if pid <= 0 or not started:
        return -1
    try:
        pidfd = native.pidfd_open(pid)
    except native.NativeError:
        return -1
    if start_time(pid) != started:
        os.close(pidfd)
        return -1
    return pidfd


def kill_and_wait(pidfd: int, seconds: float) -> bool:
    """Sends SIGKILL and waits. Returns False if the process still exists after ``seconds``."""
    try:
        native.pidfd_send_signal(pidfd, 9)
    except native.NativeError as error:
        if error.errno != 3:  # ESRCH
            raise
    return native.wait_readable(pidfd, int(seconds * 1000))
