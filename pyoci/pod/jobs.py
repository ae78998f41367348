# SPDX-License-Identifier: Apache-2.0
"""A job: work in a process of its own, so that nothing which blocks, stops or kills it affects the supervisor.

    supervisor ── fork ──> job: creates, kills or removes a container; writes its result to a pipe, and ends
               <── the job's pidfd is readable ──

The init of a container is a child of the job. When the job ends, it becomes a child of the supervisor, which is a
subreaper (prctl(2)). A job is killed if its supervisor ends.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from pyoci.container import host
from pyoci.errors import OutOfMemory, PodError, PyociError, reason

_LONGEST = 4096  # bytes of a result; a write of this size does not wait for a reader (PIPE_BUF, pipe(7))
_DEAD = 10.0  # seconds in which the kernel must end a process after KILL


class Job:
    """Runs ``work``. The job is done when ``pidfd`` is readable."""

    def __init__(self, work: Callable[[], str | None], limit: float) -> None:
        """limit: seconds after which end_if_late() kills it. Raises OSError if no process can be created."""
        self._limit = limit
        self.deadline = time.monotonic() + limit
        self._late = False
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        # A signal to the process group may come before the job is apart from the supervisor: it waits for that.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                signal.set_wakeup_fd(-1)  # else a signal to the job would be taken for one to the supervisor
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                _run(work, writer, parent)
        except OSError:
            os.close(self._reader)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(writer)
        self.pidfd = os.pidfd_open(self.pid)

    def dismiss(self) -> None:
        """Reaps a job whose result is not needed."""
        try:
            self.result()
        except PyociError:
            pass

    def kill(self) -> None:
        """Kills the job. Its work is left unfinished."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def end_if_late(self, now: float) -> None:
        """Kills the job if its time is over."""
        if now >= self.deadline:
            self._late = True
            self.deadline = now + _DEAD
            self.kill()

    def result(self) -> str:
        """Waits for its end. Returns what ``work`` returned ("" for None).

        Raises PodError or OutOfMemory with the message of what it raised, and PodError if it was killed.
        """
        try:
            end = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            data = os.read(self._reader, _LONGEST)
        finally:
            os.close(self._reader)
            os.close(self.pidfd)
        if self._late:
            raise PodError(f"not done within {self._limit:g} s")
        if not data or end is None:
            signal = f", by signal {end.si_status}" if end and end.si_status else ""
            raise PodError(f"ended without a message{signal}")
        return _result(data)


def readable(fd: int, seconds: float) -> bool:
    """Waits until a descriptor is readable (a pidfd: its process has ended), at most ``seconds``."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0, int(seconds * 1000))))


def _run(work: Callable[[], str | None], writer: int, parent: int) -> None:
    """Runs in the child and never returns."""
    try:
        host.end_with(parent)
        os.write(writer, _told(work))
    finally:
        os._exit(0)


def _told(work: Callable[[], str | None]) -> bytes:
    """Returns the result or the error of ``work``, as one line."""
    try:
        kind, text = "done", work() or ""
    except OutOfMemory as error:
        kind, text = "out of memory", str(error)
    except PyociError as error:
        kind, text = "failed", str(error)
    except OSError as error:
        kind, text = "failed", f"{error.filename}: {reason(error)}" if error.filename else reason(error)
    except Exception as error:
        kind, text = "failed", f"internal error: {type(error).__name__}: {error}"
    return f"{kind}\n{text}".encode(errors="replace")[:_LONGEST]


def _result(data: bytes) -> str:
    kind, _, text = data.decode(errors="replace").partition("\n")
    if kind == "done":
        return text
    raise OutOfMemory(text) if kind == "out of memory" else PodError(text)
