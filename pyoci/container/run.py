# SPDX-License-Identifier: Apache-2.0
"""``run``: creates and starts a container; in the foreground, waits for it and deletes it."""

from __future__ import annotations

from pyoci import native
from pyoci.config import load
from pyoci.container.create import Creation
from pyoci.container.delete import destroy
from pyoci.container.options import Request
from pyoci.container.start import poststart
from pyoci.container.terminal import Console, foreground, interrupt_by_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.options import CreateOptions
    from pyoci.container.paths import Root
    from pyoci.container.state import State


def run(
    root: Root, container_id: str, bundle: str, options: CreateOptions, detach: bool = False, keep: bool = False
) -> int:
    """Runs a container. Returns 0 as soon as its program runs if it is detached. Otherwise waits, deletes the container
    unless ``keep``, and returns the exit status of the program, or 128 plus its signal.

    Raises PyociError. A container that cannot be started is deleted.
    """
    config = load.config(bundle, options.config)
    console = None
    if not detach:
        interrupt_by_signals()
        if config.process.terminal and not options.console_socket:
            console = Console()
            options.console_fd = console.remote

    def starting() -> None:
        if console is not None:
            console.receive()
        native.end_interrupts()  # signals that come from here on are for the program

    try:
        creation = Creation(Request(container_id, bundle, options, config))
        state, pidfd = creation.carry_out(root, starting)
        poststart(state)
        if detach:
            return 0
        return _wait(state, pidfd, console, keep)
    finally:
        if console is not None:
            console.close()


def _wait(state: State, pidfd: int, console: Console | None, keep: bool) -> int:
    try:
        return foreground(pidfd, state.pid, console)
    finally:
        if not keep:
            destroy(state)
