# SPDX-License-Identifier: Apache-2.0
"""Reaps containers. This process is a subreaper, so containers become its children when `create` ends, as with conmon.

A zombie delays the end of the PID namespace that it was in. Each wait of the harness therefore reaps, and keeps the
status of what it reaped by PID.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

CALLS: set[int] = set()  # PIDs that a Popen object waits for itself
STATUS: dict[int, int] = {}  # what waitpid said of the others


def collect() -> None:
    """Takes the status of every child that ended, but for those of Popen objects."""
    for name in Path("/proc/thread-self/children").read_text().split():
        pid = int(name)
        if pid in CALLS:
            continue
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
        if ended:
            STATUS[pid] = status


def wait_for_end(pid: int, timeout: float) -> bool:
    """Waits until a process has ended, and collects others meanwhile; False when the time is over."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    STATUS.pop(pid, None)  # of an earlier process: a run of all tests uses each number more than once
    end = time.monotonic() + timeout
    try:
        while not select.select([descriptor], [], [], 0.01)[0]:
            collect()
            if time.monotonic() > end:
                return False
    finally:
        os.close(descriptor)
    collect()
    return True


def status(pid: int, timeout: float) -> int:
    """Returns what waitpid said of a child that has ended. A tracer in the container may have to let go of it first
    (ptrace(2)). Raises KeyError when the time is over."""
    end = time.monotonic() + timeout
    while pid not in STATUS and time.monotonic() < end:
        time.sleep(0.005)
        collect()
    return STATUS[pid]


def wait_for_call(child: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Waits for a call of our own. Returns its exit code, or None if it takes too long."""
    CALLS.add(child.pid)
    if not wait_for_end(child.pid, timeout):
        return None
    CALLS.discard(child.pid)
    return child.wait()
