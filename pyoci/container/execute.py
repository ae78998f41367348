# SPDX-License-Identifier: Apache-2.0
"""``exec``: runs another process in a running container."""

from __future__ import annotations

import os

from pyoci import protocol
from pyoci.container import gather, intent, launch
from pyoci.container.launch import Child
from pyoci.errors import NotRunning, PyociError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.process import ProcessConfig
    from pyoci.container.options import ExecOptions
    from pyoci.container.state import State


def execute(state: State, process: ProcessConfig, options: ExecOptions) -> Child:
    """Runs ``process`` in the container of ``state``. Returns when its execve has succeeded.

    The process is a child of this one, which has to wait for it. Raises NotRunning, LaunchError, SpecError.
    """
    if not options.detach:
        from pyoci.container.terminal import hold_signals

        hold_signals()
    target = _open_running(state, options)
    try:
        intent.check_terminal(process, options)
        group = state.group().joining(state.pid, options.cgroups)
        work = intent.to_execute(process, state.namespaces, gather.for_exec(state, group, options))
        with launch.Launch(f"exec {state.id}", work.launch, process.name) as running:
            running.spawn(options, group, [target])
            running.expect(protocol.SYNC_STARTING)
            running.settle()
            if options.starting is not None:
                options.starting()
            running.answer()
            running.expect(protocol.SYNC_NONE)  # the end of the socket: execve closed it
            running.tell(options)
            return running.finish()
    finally:
        os.close(target)


def run(state: State, process: ProcessConfig, options: ExecOptions) -> int:
    """Calls ``execute`` and waits for the process, unless it is detached.

    Returns its exit status, or 128 plus its signal; 0 if it is detached. Raises like ``execute``.
    """
    if options.detach:
        os.close(execute(state, process, options).pidfd)
        return 0
    from pyoci.container.terminal import Console, foreground

    console = None
    if process.terminal and not options.console_socket:
        console = Console()
        options.console_fd, options.starting = console.remote, console.receive
    try:
        child = execute(state, process, options)
        return foreground(child.pidfd, child.pid, console)
    finally:
        if console is not None:
            console.close()


def _open_running(state: State, options: ExecOptions) -> int:
    """Returns a pidfd of init. Raises NotRunning, and PyociError if the container is paused, where exec would hang."""
    status = state.status()
    if status not in ("running", "created", "paused"):
        raise NotRunning(state.id, "exec", status)
    if status == "paused" and not options.ignore_paused:
        raise PyociError(f"exec {state.id}: container is paused; resume it first, or use --ignore-paused")
    pidfd = state.open_init()
    if pidfd < 0:
        raise NotRunning(state.id, "exec")
    return pidfd
