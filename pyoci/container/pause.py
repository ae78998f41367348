# SPDX-License-Identifier: Apache-2.0
"""``pause`` and ``resume``: freeze all processes of a container, and let them go on.

The status of a paused container follows from its cgroup. A created one is taken for created as long as its start socket
has its name, so pause gives the socket another: ``start`` then finds none, and does not wait for a frozen init.
"""

from __future__ import annotations

import os

from pyoci.container.state import State
from pyoci.errors import CgroupError, NotRunning, PyociError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.paths import Root


def pause(root: Root, container_id: str) -> None:
    """Freezes all processes. Returns when they stand.

    Raises NotFound, NotRunning; PyociError if the container is paused already; CgroupError if it has no group to
    freeze, or if not all processes stand within the time limit, after which none is frozen.
    """
    state = State.load(root, container_id)
    status = state.status()
    if status == "paused":
        raise PyociError(f"pause {container_id}: container is paused already")
    if status not in ("running", "created"):
        raise NotRunning(container_id, "pause", status)
    try:
        state.group().freeze()
    except CgroupError as error:
        raise CgroupError(f"pause {container_id}: {error}") from error
    if status == "created":
        _rename(state.start_socket, _aside(state))


def resume(root: Root, container_id: str) -> None:
    """Lets the processes of a paused container go on. Raises NotFound, NotRunning, PyociError if it is not paused."""
    state = State.load(root, container_id)
    status = state.status()
    if status == "stopped":
        raise NotRunning(container_id, "resume", status)
    if status != "paused" and not os.path.lexists(_aside(state)):  # the latter if an earlier resume was cut off
        raise PyociError(f"resume {container_id}: container not paused (it is {status})")
    try:
        state.group().thaw()
    except CgroupError as error:
        raise CgroupError(f"resume {container_id}: {error}") from error
    _rename(_aside(state), state.start_socket)


def _aside(state: State) -> str:
    return f"{state.start_socket}.paused"


def _rename(before: str, after: str) -> None:
    """Renames the start socket. There is none if the container has been started, or was deleted meanwhile."""
    try:
        os.rename(before, after)
    except FileNotFoundError:
        pass
