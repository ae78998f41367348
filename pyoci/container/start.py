# SPDX-License-Identifier: Apache-2.0
"""``start``: lets a created container's init execute the program (runtime.md, "Start")."""

from __future__ import annotations

import os

from pyoci import native
from pyoci.container import hooks, launch
from pyoci.container.state import State
from pyoci.errors import HookError, LaunchError, NotRunning, PyociError
from pyoci.native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.paths import Root


def start(root: Root, container_id: str) -> None:
    """Starts the program, and returns when execve has succeeded.

    Raises NotFound, NotRunning; LaunchError if the program cannot be executed, and HookError: then the container
    is stopped.
    """
    state = State.load(root, container_id)
    connection = _connect(state)
    try:
        # The socket stands for the status *created*. Whoever removed it is the one who starts; if we were killed
        # right here, init would see the end of the connection and end too.
        os.unlink(state.start_socket)
        payload = state.text("created").encode() if state.hooks.get("startContainer") else b""
        native.send(connection, lib.SYNC_START, 0, payload)
        if native.receive(connection).kind != lib.SYNC_STARTING:
            raise LaunchError(f"start {container_id}: its init ended")
        message = native.receive(connection)
    except FileNotFoundError:
        raise _not_created(state) from None
    finally:
        os.close(connection)
    if message.kind == lib.SYNC_FAILED:
        raise launch.failed(f"start {container_id}", message.failure())
    poststart(state)


def poststart(state: State) -> None:
    """Runs the poststart hooks. If one fails the container is stopped, since specification 1.3. Raises HookError."""
    if not state.hooks.get("poststart"):
        return
    try:
        hooks.run("poststart", state.hooks["poststart"], state.text("running"), "/hooks/poststart")
    except HookError:
        from pyoci.container.delete import stop

        stop(state)
        raise


def _connect(state: State) -> int:
    try:
        return native.connect(state.start_socket)
    except native.NativeError:
        raise _not_created(state) from None


def _not_created(state: State) -> PyociError:
    status = state.status()
    if status in ("stopped", "created"):
        return NotRunning(state.id, "start", "stopped")
    return PyociError(f"start {state.id}: container is {status}; only a created one can be started")
