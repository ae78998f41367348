# SPDX-License-Identifier: Apache-2.0
"""The pod's only door to pyoci.container: each call is for one container, by its ID."""

from __future__ import annotations

import os
import signal

from pyoci.container.create import create
from pyoci.container.delete import delete
from pyoci.container.kill import kill
from pyoci.container.options import CreateOptions
from pyoci.container.paths import Root
from pyoci.container.start import start
from pyoci.container.state import State
from pyoci.errors import NotFound, NotRunning, PyociError, StateError


class Engine:
    """Containers in one state root."""

    def __init__(self, root: Root, cgroup_manager: str) -> None:
        self.root = root
        self.cgroup_manager = cgroup_manager

    def launch(self, container_id: str, bundle: str, stdio: tuple[int, int, int]) -> tuple[int, int]:
        """Creates and starts a container; gives the PID of its init, which is our child, and a pidfd of it.

        If that fails nothing is left behind. Raises PyociError or OSError.
        """
        options = CreateOptions()
        options.cgroup_manager = self.cgroup_manager
        options.stdio = stdio
        pid = create(self.root, container_id, bundle, options).pid
        pidfd = os.pidfd_open(pid)
        try:
            start(self.root, container_id)
        except (PyociError, OSError):
            try:
                self.remove(container_id)
                reap(pidfd)
            finally:
                os.close(pidfd)
            raise
        return pid, pidfd

    def signal(self, container_id: str, number: int) -> None:
        """Sends a signal: KILL to every process of the container, any other to its init. Ended is fine."""
        try:
            kill(self.root, container_id, number, everything=number == signal.SIGKILL)
        except (NotRunning, NotFound):
            pass

    def remove(self, container_id: str) -> None:
        """Ends every process of a container and removes it; unknown is fine."""
        try:
            delete(self.root, container_id, force=True)
        except NotFound:
            pass

    def pid(self, container_id: str) -> int:
        """The PID of a container's init on the host, 0 if it does not run.

        Its supervisor may be making or removing it right now: a container without a whole state does not run.
        """
        try:
            pid = State.load(self.root, container_id).document()["pid"]
        except (NotFound, StateError):
            return 0
        return int(pid)

    def ids(self) -> list[str]:
        """Every container in the root."""
        return self.root.ids()


def reap(pidfd: int, wait: bool = True) -> int | None:
    """The exit status of our child (128 + signal if one ended it); None if ``wait`` is False and it still runs."""
    end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | (0 if wait else os.WNOHANG))
    if end is None:
        return None
    return end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status
