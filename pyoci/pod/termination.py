# SPDX-License-Identifier: Apache-2.0
"""Decides when containers get which signal at the end of a pod, and when they are restarted. No effects here."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)


class Termination:
    """The ordered end of a pod's containers.

    TERM is sent in the reverse order of the start, to one container after the other. The next one gets it when the one
    before has ended, or has used up its share of the grace period (the time left, divided by the containers left). So a
    server outlives its client, and a container that ignores TERM does not use up the time of the others. At the end of
    the period, the rest get KILL.
    """

    def __init__(self, names: Sequence[str], grace: float, now: float) -> None:
        """names: in the order of their start; grace, now: seconds of the monotonic clock."""
        self.end = now + grace
        self._queue = list(reversed(names))
        self._current = ""
        self._turn = now
        self._killed = False

    def due(self, running: Collection[str], now: float) -> list[tuple[int, str]]:
        """Returns the signals to send now, in this order."""
        if now >= self.end:
            if self._killed:
                return []
            self._killed, self._queue = True, []
            return [(KILL, name) for name in running]
        signals = []
        while self._queue and (self._current not in running or now >= self._turn):
            name = self._queue.pop(0)
            if name not in running:
                continue
            signals.append((TERM, name))
            left = 1 + sum(other in running for other in self._queue)
            self._current, self._turn = name, now + (self.end - now) / left
        return signals

    def add(self, name: str) -> None:
        """Adds a container whose start was under way when the end began. It is the next to get TERM."""
        if name not in self._queue:
            self._queue.insert(0, name)

    def hasten(self, grace: float, now: float) -> None:
        """Shortens the period. It never grows."""
        self.end = min(self.end, now + grace)

    def next(self) -> float | None:
        """Returns when due() has new signals, if no container ends before; None for never."""
        if self._killed:
            return None
        return min(self._turn, self.end) if self._queue else self.end


class Backoff:
    """Restart delays as in kubelet: none after the first end, then base, 2 base, 4 base ... up to 30 base (10 s to 5
    min).

    They start again for a container that has run for twice the longest delay.
    """

    def __init__(self, base: float) -> None:
        self._base = base
        self._ends = 0

    def delay(self, ran: float) -> float:
        """Returns the seconds to wait after an end. ran: how long the container had run."""
        longest = 30 * self._base
        if ran >= 2 * longest:
            self._ends = 0
        self._ends += 1
        return 0.0 if self._ends == 1 else min(self._base * 2.0 ** min(self._ends - 2, 60), longest)
