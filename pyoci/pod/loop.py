# SPDX-License-Identifier: Apache-2.0
"""The event loop of a supervisor: one poll(2) for descriptors, signals and the next deadline."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType

_Handler = Callable[[int, FrameType | None], object] | int | None


class Loop:
    """Handlers of descriptors. Signals make a descriptor readable (signal.set_wakeup_fd)."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._before: dict[int, _Handler] = {}
        self._wake: tuple[int, ...] = ()
        self._mask: set[int] = set()

    def watch(self, fd: int, handler: Callable[[int], None]) -> None:
        """Calls ``handler`` with the descriptor whenever it is readable, or at its end."""
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Ends watch(). Does nothing if the descriptor is unknown."""
        if self._handlers.pop(fd, None):
            self._poll.unregister(fd)

    def wait(self, until: float | None) -> None:
        """Sleeps until a descriptor is ready, or until the monotonic time ``until``, and calls the handlers."""
        timeout = None if until is None else max(0, int((until - time.monotonic()) * 1000) + 1)
        for fd, _ in self._poll.poll(timeout):
            if fd in self._handlers:  # a handler may have removed another one
                self._handlers[fd](fd)

    def catch(self, signals: Iterable[int], handler: Callable[[int], None]) -> None:
        """Receives signals: calls ``handler`` with their numbers. SIGPIPE is ignored."""
        wanted = frozenset(signals)
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before = {number: signal.signal(number, lambda *_: None) for number in wanted}
        # A reader of our output that goes away must not end the supervisor.
        self._before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake[1])
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)  # the caller may have blocked them

        def read(fd: int) -> None:
            for number in os.read(fd, 64):
                if number in wanted:
                    handler(number)

        self.watch(self._wake[0], read)

    def close(self) -> None:
        """Restores the handlers of signals."""
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for fd in self._wake:
            os.close(fd)
        self._before, self._wake = {}, ()
