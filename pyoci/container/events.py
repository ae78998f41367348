# SPDX-License-Identifier: Apache-2.0
"""``events``: what a container uses, again and again, and when it runs out of memory."""

from __future__ import annotations

import os
import time

from pyoci.container.state import State
from pyoci.errors import CgroupError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.cgroup import Cgroup, OomWatch
    from pyoci.container.paths import Root

    Event = dict[str, object]

_LONGEST = 1 << 30  # ms: poll(2) takes an int


def statistics(root: Root, container_id: str) -> Event:
    """Returns the event with the statistics of this moment. Raises NotFound, NotRunning, CgroupError."""
    state = _load(root, container_id)
    return _stats(state, state.group())


def follow(root: Root, container_id: str, interval: float, tell: Callable[[Event], None]) -> None:
    """Calls ``tell`` with statistics each ``interval`` seconds, and whenever the kernel kills a process of the
    container for want of memory. Returns when init has ended. Raises NotFound, NotRunning, CgroupError.
    """
    state = _load(root, container_id)
    group = state.group()
    _stats(state, group)  # fails at once if there are none
    pidfd = state.open_init()
    if pidfd < 0:
        raise NotRunning(container_id, "events")
    try:
        watch = group.watch_oom()
        try:
            _follow(state, group, watch, pidfd, interval, tell)
        finally:
            watch.close()
    finally:
        os.close(pidfd)


def _follow(
    state: State, group: Cgroup, watch: OomWatch, pidfd: int, interval: float, tell: Callable[[Event], None]
) -> None:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if watch.descriptor >= 0:
        poll.register(watch.descriptor, watch.events)
    due = time.monotonic() + interval
    ended = False
    while not ended:
        left = max(0.0, due - time.monotonic())
        ready = dict(poll.poll(min(left * 1000, _LONGEST)))
        ended = pidfd in ready
        # At the end too: the last event may be why it ended.
        if (ended or watch.descriptor in ready) and watch.happened():
            tell({"type": "oom", "id": state.id})
        if not ended and time.monotonic() >= due:
            due = time.monotonic() + interval
            try:
                tell(_stats(state, group))
            except CgroupError:
                if state.alive():
                    raise


def _load(root: Root, container_id: str) -> State:
    state = State.load(root, container_id)
    status = state.status()
    if status not in ("created", "running", "paused"):
        raise NotRunning(container_id, "events", status)
    return state


def _stats(state: State, group: Cgroup) -> Event:
    try:
        return {"type": "stats", "id": state.id, "data": group.stats()}
    except CgroupError as error:
        raise CgroupError(f"events {state.id}: {error}") from error
