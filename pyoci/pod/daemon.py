# SPDX-License-Identifier: Apache-2.0
"""Runs a supervisor in the background: forked twice, in its own session, with a pipe that reports its start."""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable

from pyoci.errors import PodError, PyociError
from pyoci.pod.supervisor import Audience

_LONGEST = 4096  # bytes of the report; a write of this size is atomic (PIPE_BUF, pipe(7))
_END = 5000  # ms in which the daemon must end after it reported a failure


class _Report(Audience):
    """Reports whether the pod has started. If it has not, the end of this process closes the pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def ready(self, error: str) -> None:
        try:
            os.write(self._pipe, (f"failed {error}" if error else "up").encode()[:_LONGEST])
        except OSError:
            pass  # the caller has not waited
        if not error:
            os.close(self._pipe)


def detach(main: Callable[[Audience], int], keep: int, log: int, wait: float) -> bool:
    """Runs ``main`` in a daemon. Returns whether it reported within ``wait`` seconds that the pod has started.

    keep: a descriptor that the daemon needs, all others are closed; log: a descriptor for unexpected errors. Raises
    PodError with the daemon's message if the pod failed, or if the daemon ended without one.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _daemon(main, writer, keep, log)
    os.close(writer)
    try:
        os.waitpid(child, 0)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        if not poll.poll(int(wait * 1000)):
            return False
        report = os.read(reader, _LONGEST).decode(errors="replace")
        poll.poll(_END)  # a failed pod has ended when it is reported, and can be removed
    finally:
        os.close(reader)
    if report == "up":
        return True
    silent = "its supervisor ended without a message; see supervisor.log in its directory"
    raise PodError(report.removeprefix("failed ") or silent)


def _daemon(main: Callable[[Audience], int], writer: int, keep: int, log: int) -> None:
    """Runs the daemon and never returns. The first child creates a session and ends; the second can get no terminal."""
    status = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _redirect(writer, keep, log)
        report = _Report(writer)
        status = _reported(main, report)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _reported(main: Callable[[Audience], int], report: _Report) -> int:
    """Calls main. An error before the pod's first step is reported to the caller, not to the log."""
    try:
        return main(report)
    except PyociError as error:
        report.ready(str(error))
        return 1


def _redirect(writer: int, keep: int, log: int) -> None:
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd, target in ((null, 0), (null, 1), (log, 2)):
        os.dup2(fd, target)
    first, last = sorted((writer, keep))
    os.closerange(3, first)
    os.closerange(first + 1, last)
    os.closerange(last + 1, 1 << 20)
