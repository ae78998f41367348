# SPDX-License-Identifier: Apache-2.0
"""A supervisor in the background: forked twice, in a session of its own, with a pipe that says how it began."""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable

from pyoci.errors import PodError, PyociError
from pyoci.pod.supervisor import Audience

_LONGEST = 4096  # bytes of the report; one write of so many is atomic (PIPE_BUF, pipe(7))
_END = 5000  # ms for the daemon to end after its report of a failure


class _Report(Audience):
    """Passes on whether the pod came up. The pipe of one that did not is closed by the end of this process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def ready(self, error: str) -> None:
        try:
            os.write(self._pipe, (f"failed {error}" if error else "up").encode()[:_LONGEST])
        except OSError:
            pass  # whoever started us has not waited
        if not error:
            os.close(self._pipe)


def detach(main: Callable[[Audience], int], keep: int, log: int, wait: float) -> bool:
    """Runs ``main`` in a daemon; whether it reported within ``wait`` seconds that the pod is up.

    keep: a descriptor that the daemon needs; every other is closed. log: one that unforeseen errors go to.
    Raises PodError with the daemon's own words if the pod failed, or if the daemon ended without a word.
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
        poll.poll(_END)  # what failed has ended when we say so, and can be removed
    finally:
        os.close(reader)
    if report == "up":
        return True
    silent = "its supervisor ended without a word; see supervisor.log in its directory"
    raise PodError(report.removeprefix("failed ") or silent)


def _daemon(main: Callable[[Audience], int], writer: int, keep: int, log: int) -> None:
    """Never returns. The first child makes the session and ends, so the second can never get a terminal."""
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
    """An error before the pod's first step is the caller's to read, not the log's."""
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
