# SPDX-License-Identifier: Apache-2.0
"""When a pod ends: who gets which signal, and when. When a container is restarted: after how long. No effects here."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)


class Termination:
    """The ordered end of a pod's containers.

    TERM goes out in the reverse order of the start, one container after the other: the next one's turn comes when the
    one before has ended, or has used up its share of the grace period (the time left, divided by the containers left).
    So a server outlives its client, and one container that does not listen takes no other's chance to end in peace.
    At the end of the period whatever still runs gets KILL.
    """

    def __init__(self, names: Sequence[str], grace: float, now: float) -> None:
        """names: in the order of their start. grace, now: seconds, of the monotonic clock."""
        self.end = now + grace
        self._queue = list(reversed(names))
        self._current = ""
        self._turn = now
        self._killed = False

    def due(self, running: Collection[str], now: float) -> list[tuple[int, str]]:
        """The signals to send now, in this order."""
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
        """A container whose start was under way when the end began runs now: it is the next to get TERM."""
        if name not in self._queue:
            self._queue.insert(0, name)

    def hasten(self, grace: float, now: float) -> None:
        """Shortens the period; it never grows again."""
        self.end = min(self.end, now + grace)

    def next(self) -> float | None:
        """When due() has something new to say, if no container ends before; None: never."""
        if self._killed:
            return None
        return min(self._turn, self.end) if self._queue else self.end


class Backoff:
    """kubelet's delays: at once after the first end, then base, 2 base, 4 base ... up to 30 base (10 s to 5 min).

    A container that ran for twice the longest delay begins anew.
    """

    def __init__(self, base: float) -> None:
        self._base = base
        self._ends = 0

    def delay(self, ran: float) -> float:
        """Seconds to wait after an end; ran: how long the container had run."""
        longest = 30 * self._base
        if ran >= 2 * longest:
            self._ends = 0
        self._ends += 1
        return 0.0 if self._ends == 1 else min(self._base * 2.0 ** min(self._ends - 2, 60), longest)
