# SPDX-License-Identifier: Apache-2.0
"""The only module of this room that calls pyoci.container, for one container by its ID at a time."""

from __future__ import annotations

import os
import signal

from pyoci.container import host
from pyoci.container.create import create
from pyoci.container.delete import delete
from pyoci.container.kill import kill
from pyoci.container.options import CreateOptions
from pyoci.container.paths import Root
from pyoci.container.start import start
from pyoci.container.state import State
from pyoci.errors import CgroupError, NotFound, NotRunning, PyociError, StateError


class Containers:
    """Containers in one state root, and the control groups around those of pods."""

    def __init__(self, root: Root, cgroup_manager: str) -> None:
        self.root = root
        self._cgroup_manager = cgroup_manager

    def launch(self, container_id: str, bundle: str, stdio: tuple[int, int, int]) -> int:
        """Creates and starts a container. Returns the PID of its init, which is our child.

        Leaves nothing behind if that fails. Raises PyociError or OSError.
        """
        options = CreateOptions()
        options.cgroup_manager, options.stdio = self._cgroup_manager, stdio
        pid = create(self.root, container_id, bundle, options).pid
        pidfd = os.pidfd_open(pid)
        try:
            start(self.root, container_id)
        except (PyociError, OSError):
            self.remove(container_id)
            reap(pidfd)
            raise
        finally:
            os.close(pidfd)
        return pid

    def kill(self, container_id: str) -> None:
        """Sends SIGKILL to every process of a container, even if it is frozen. Does nothing if it has ended."""
        try:
            kill(self.root, container_id, signal.SIGKILL, everything=True)
        except (NotRunning, NotFound):
            pass

    def remove(self, container_id: str) -> None:
        """Kills every process of a container and deletes it. Does nothing if it is unknown."""
        try:
            delete(self.root, container_id, force=True)
        except NotFound:
            pass

    def remove_group(self, path: str) -> None:
        """Removes the control group of a pod, above those of its containers. Raises CgroupError."""
        host.remove_cgroup(path, self._cgroup_manager)

    def oom_kills(self, container_id: str) -> int:
        """Returns how many processes of a container the kernel has killed at the memory limit, or 0 if unknown."""
        try:
            return State.load(self.root, container_id).group().oom_kills()
        except (NotFound, StateError, CgroupError):
            return 0

    def pid(self, container_id: str) -> int:
        """Returns the PID of a container's init on the host, 0 if it does not run.

        Its supervisor may be creating or removing it: a container without a complete state does not run.
        """
        try:
            pid = State.load(self.root, container_id).document()["pid"]
        except (NotFound, StateError):
            return 0
        return int(pid)

    def of_pod(self, pod_name: str) -> list[str]:
        """Returns the names of the containers of a pod that the runtime knows."""
        found = (container_id.rpartition(".") for container_id in self.root.ids())
        return [name for pod, dot, name in found if dot and name and pod == pod_name]


def reap(pidfd: int, wait: bool = True) -> int | None:
    """Returns the exit status of our child, or 128 + signal; None if ``wait`` is False and it still runs."""
    end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | (0 if wait else os.WNOHANG))
    if end is None:
        return None
    return end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status


def reap_strangers(known: set[int]) -> None:
    """Reaps children of this process that have ended and are not in ``known`` (proc_pid_task(5), "children")."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            children = {int(word) for word in file.read().split()}
    except OSError:
        return  # without CONFIG_PROC_CHILDREN they are reaped when the supervisor ends
    for pid in children - known:
        os.waitpid(pid, os.WNOHANG)
