# SPDX-License-Identifier: Apache-2.0
"""``start``: lets the init of a created container execute the program (runtime.md, "Start")."""

from __future__ import annotations

import os

from pyoci import native, protocol, report
from pyoci.container import hooks, launch, waiting
from pyoci.container.state import State
from pyoci.errors import LaunchError, NotRunning, PyociError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.paths import Root

EPIPE, ECONNRESET = 32, 104


def start(root: Root, container_id: str) -> None:
    """Starts the program. Returns when execve has succeeded.

    Raises NotFound, NotRunning; LaunchError if the program cannot be executed, which leaves the container stopped; and
    HookError, after which the container is destroyed.
    """
    state = State.load(root, container_id)
    opened = [_connect(state)]
    try:
        memory = native.report_memory() if state.seccomp >= 0 else -1
        opened += [memory] if memory >= 0 else []
        _claim(state, opened[0], memory)
        message = _receive(state, opened[0])
        if message.kind == protocol.SYNC_NONE and memory >= 0:
            message = native.read_report(memory)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    if message.kind == protocol.SYNC_FAILED:
        raise launch.failed(f"start {state.id}", message.failure())
    if report.debugging:
        report.debug(f"start {state.id}: the program runs")
    poststart(state)


def _claim(state: State, connection: int, memory: int) -> None:
    """Reserves the start for this call: init answers only one. memory: the memory for init's report, or -1.
    Raises PyociError.

    The file of the socket means the status *created*, so it is removed before the program runs. If this process is
    killed in between, the connection ends, and init ends. No container is left that is neither created nor started.
    """
    payload = state.for_hooks("created") if state.hooks.get("startContainer") else b""
    try:
        native.send(connection, protocol.SYNC_START, 0, payload, memory)
        if _receive(state, connection).kind != protocol.SYNC_STARTING:
            raise _not_created(state)
        os.unlink(state.start_socket)
        _hurry()
        native.send(connection, protocol.SYNC_GO)
    except FileNotFoundError as error:  # deleted meanwhile
        raise NotRunning(state.id, "start", "stopped") from error
    except native.NativeError as error:
        if error.errno not in (EPIPE, ECONNRESET):
            raise
        raise _not_created(state) from error


def _hurry() -> None:
    """Makes this process one that the kernel prefers to all ordinary ones, until it ends (sched(7)).

    Its caller hears of the start when this process has ended, and the program begins when it is told to. On a busy
    machine the one came milliseconds after the other, and containerd 1.6 asks to hear of an OOM only then. Hooks do not
    inherit it. It takes CAP_SYS_NICE, and a cgroup with real-time budget.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        pass


def _receive(state: State, connection: int) -> native.Message:
    return waiting.receive(connection, f"start {state.id}", state.pid, state.group)


def poststart(state: State) -> None:
    """Runs the poststart hooks. If one fails, or the wait for it is interrupted, the container is destroyed (runtime.md
    "Lifecycle", step 9, since version 1.3). Raises HookError."""
    if not state.hooks.get("poststart"):
        return
    try:
        hooks.run("poststart", state.hooks["poststart"], state.for_hooks("running"))
    except BaseException:
        from pyoci.container.delete import destroy

        try:
            destroy(state)
        except (PyociError, OSError) as error:
            report.warn(f"start {state.id}: {error}")
        raise


def _connect(state: State) -> int:
    try:
        return native.connect(state.start_socket)
    except native.NativeError as error:
        raise _not_created(state) from error


def _not_created(state: State) -> PyociError:
    status = state.status()
    if status == "stopped":
        return NotRunning(state.id, "start", "stopped")
    if status == "created":
        return LaunchError(f"start {state.id}: its init does not answer; it is ending, or another start was faster")
    return PyociError(f"start {state.id}: container is {status}; only a created one can be started")
