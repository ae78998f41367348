# SPDX-License-Identifier: Apache-2.0
"""The wait for a message of init, which ends where init cannot run.

How long init works is not limited: mounts of a network, a hook, a large image may take their time. But a process that
is stopped by a signal, or whose cgroup is frozen, does nothing, and may do so for ever.
"""

from __future__ import annotations

from pyoci import native
from pyoci.container import processes
from pyoci.errors import CgroupError, LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.cgroup import Cgroup

STEP = 500  # ms between two looks
LIMIT = 5000  # ms without a change


def receive(connection: int, about: str, pid: int, group: Callable[[], Cgroup | None]) -> native.Message:
    """Returns the next message of init.

    about: verb and container, for the error; pid: init's; group: returns its cgroup. Raises LaunchError if init
    has not run for LIMIT, and what native.receive raises.
    """
    idle = 0
    while True:
        try:
            return native.receive(connection, STEP)
        except native.TimedOut as error:
            reason = _frozen(group) or _stopped(pid)
            idle = idle + STEP if reason else 0
            if idle >= LIMIT:
                raise LaunchError(f"{about}: waited {LIMIT // 1000} s for pyoci-init: {reason}") from error


def _frozen(group: Callable[[], Cgroup | None]) -> str:
    """Returns that a cgroup is frozen, or "" if it is not."""
    try:
        found = group()
    except CgroupError:
        return ""
    if found is None or not found.cannot_run():
        return ""
    return f"its cgroup {found.path}, or one above it, is frozen; thaw that"


def _stopped(pid: int) -> str:
    """Returns that a process is stopped, or "" if it is not."""
    if not processes.is_stopped(pid):
        return ""
    return f"process {pid} is stopped, by a signal or by ptrace; continue it (kill -CONT {pid})"
