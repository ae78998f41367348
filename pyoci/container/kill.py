# SPDX-License-Identifier: Apache-2.0
"""``kill``: sends a signal to init, or to all processes of the container (runtime.md, "Kill")."""

from __future__ import annotations

import os

from pyoci import native
from pyoci.container.state import State
from pyoci.errors import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.paths import Root

SIGKILL = 9
ESRCH = 3


def kill(root: Root, container_id: str, signum: int, everything: bool = False) -> None:
    """Sends ``signum`` to init. everything: to each process of the cgroup, without an error if there is none.

    A container that shares its PID namespace does not end with its init. SIGKILL then goes to all processes, even if
    init is gone. It also goes to all processes of a group that it would not end otherwise, because that is frozen.
    Raises NotFound, NotRunning.
    """
    state = State.load(root, container_id)
    if everything:
        state.group().kill(signum)
    pidfd = state.open_init()
    if pidfd < 0:
        if everything or (signum == SIGKILL and state.shares_pid and state.group().kill(SIGKILL)):
            return
        raise NotRunning(container_id, "kill")
    try:
        if not everything or state.group().manager == "disabled":
            native.pidfd_send_signal(pidfd, signum)
    except native.NativeError as error:
        if error.errno == ESRCH:
            raise NotRunning(container_id, "kill") from error
        raise
    finally:
        os.close(pidfd)
    if signum == SIGKILL and not everything:
        group = state.group()
        if state.shares_pid or group.unkillable():
            group.kill(SIGKILL)
