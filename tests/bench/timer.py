# SPDX-License-Identifier: Apache-2.0
"""Times one call of a program, from posix_spawn to wait4, in the same way for every tool."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
TIMEOUT = 30.0  # seconds that a container's process may take to end


class CallError(Exception):
    """A call failed: the command, how it ended, and what it said."""


class Timer:
    """Calls programs with /dev/null as input and output; what they say on standard error goes to one file."""

    def __init__(self, directory: Path) -> None:
        self._said = os.open(directory / "stderr", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._actions = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_DUP2, self._said, 2),
        ]

    def spawn(self, argv: list[str], environment: dict[str, str] = ENVIRONMENT) -> int:
        """Starts a program by its full path; its PID, for `wait`."""
        return os.posix_spawn(argv[0], argv, environment, file_actions=self._actions)

    def wait(self, pid: int, argv: list[str]) -> None:
        """Waits for a program. Raises CallError unless it exits with 0."""
        _, status, _ = os.wait4(pid, 0)
        if status:
            self._fail(status, argv)

    def call(self, argv: list[str], environment: dict[str, str] = ENVIRONMENT) -> int:
        """Runs a program to its end; nanoseconds. Raises CallError unless it exits with 0."""
        begin = time.perf_counter_ns()
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=self._actions)
        _, status, _ = os.wait4(pid, 0)
        spent = time.perf_counter_ns() - begin
        if status:
            self._fail(status, argv)
        return spent

    def _fail(self, status: int, argv: list[str]) -> None:
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, 2000, max(0, size - 2000)).decode(errors="replace").strip()
        raise CallError(f"{' '.join(argv)}: exit {os.waitstatus_to_exitcode(status)}: {said}")


def wait_for_end(pid: int) -> None:
    """Waits for the end of a container's first process, of which this process is the subreaper, and collects it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([descriptor], [], [], TIMEOUT)[0]:
            raise CallError(f"process {pid} did not end in {TIMEOUT:.0f} s")
    finally:
        os.close(descriptor)
    collect()


def collect() -> None:
    """Takes the status of every child that ended; called only while no call is under way."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
