# SPDX-License-Identifier: Apache-2.0
"""What both versions of control groups have in common, and the manager that has none."""

from __future__ import annotations

import errno
import os
import select
import time

from pyoci import native
from pyoci.cgroup import files
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroup.files import Setting
    from pyoci.config.documents import Resources

SIGKILL = 9
WAIT_SECONDS = 10.0  # the longest that freeze() and delete() wait for the kernel
_BATCH = 256  # pidfds open at a time


class Cgroup:
    """The control group of one container. Nothing exists until create(); every method copes with one that is gone.

    path: from the root of the hierarchies; paths: controller → directory (``unified`` on v2).
    """

    __slots__ = ("_made", "path", "paths")
    manager = "cgroupfs"

    def __init__(self, path: str, paths: dict[str, str]) -> None:
        self.path = path
        self.paths = paths
        self._made: list[str] = []

    def create(self, resources: Resources) -> list[Setting]:
        """Makes the directories, and what a process has to find when it enters: a filled cpuset and the device rules.
        Undoes all of it on failure.

        resources: ``linux.resources`` of config.json. Gives the limits, for limit() to write. An empty group that
        exists is used; one that is frozen or has processes is refused (runtime-spec, "Control groups"). Raises
        CgroupError, and UnsupportedError for a resource that is not supported yet.
        """
        raise NotImplementedError

    def limit(self, settings: list[Setting]) -> None:
        """Writes the limits that create() gave. They are for the container's program: a process that is in the group
        already is held to them from now on, with what it has used till now. Raises CgroupError.
        """
        raise NotImplementedError

    def discard(self) -> None:
        """Undoes create() and all that came after it: kills the processes, removes the group, and those above it
        that were missing before. Raises CgroupError.
        """
        self.delete(kill=True)
        remove_directories(self._made)

    def update(self, resources: Resources) -> None:
        """Writes the limits that ``resources`` names and leaves the others as they are. Raises CgroupError."""
        raise NotImplementedError

    def add(self, pid: int) -> None:
        """Moves a process into the group. Raises CgroupError."""
        raise NotImplementedError

    def descriptor(self) -> int:
        """A new descriptor of the directory for CLONE_INTO_CGROUP, owned by the caller; -1 where that is not to be
        had (v1, disabled), and add() has to do it. Raises CgroupError.
        """
        return -1

    def entries(self) -> list[int]:
        """New descriptors, owned by the caller, to which a process of one thread writes "0" to move itself in (v1);
        none where descriptor() serves, and where there is no group. Raises CgroupError.
        """
        return []

    def pids(self) -> list[int]:
        """The processes in the group and below it."""
        raise NotImplementedError

    def kill(self, signum: int) -> int:
        """Sends a signal to every process in the group and below, and says how many it reached.

        SIGKILL reaches a frozen group and one that forks without end. Raises CgroupError.
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Stops every process, and returns when all of them stand. Raises CgroupError after WAIT_SECONDS."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Lets the processes run again."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Whether freeze() was called on this group (and not on one above it)."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many processes of the group the kernel has killed because its memory limit was used up; 0 where that
        cannot be known. Read it before the group is removed.
        """
        return 0

    def delete(self, kill: bool = False) -> None:
        """Removes the group and those below it, waiting for processes that are about to end; with ``kill``, those
        that are there are killed first.

        Raises CgroupError if processes are still there after WAIT_SECONDS.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What from_state() needs, fit for JSON."""
        return {"manager": self.manager, "path": self.path, "paths": dict(self.paths)}

    def _signal_each(self, signum: int) -> int:
        """Signals the processes one by one, through pidfds.

        A number read from cgroup.procs may belong to somebody else by the time of the kill(2). So: read, open
        pidfds, read again; who is still listed has the pidfd that was opened for it.
        """
        reached = 0
        listed = self.pids()
        for start in range(0, len(listed), _BATCH):
            handles = _open_pidfds(listed[start : start + _BATCH])
            try:
                still = set(self.pids())
                for pid, handle in handles.items():
                    if pid in still and _send(handle, signum):
                        reached += 1
            finally:
                for handle in handles.values():
                    os.close(handle)
        return reached


class Disabled(Cgroup):
    """No control group: the processes stay where the runtime's caller is, and limits are the caller's business."""

    __slots__ = ()
    manager = "disabled"

    def __init__(self) -> None:
        super().__init__("", {})

    def create(self, resources: Resources) -> list[Setting]:
        """Does nothing."""
        return []

    def limit(self, settings: list[Setting]) -> None:
        """Does nothing."""

    def update(self, resources: Resources) -> None:
        """Cannot be: there is nothing to limit."""
        raise CgroupError("update resources: the container was created with the cgroup manager disabled")

    def add(self, pid: int) -> None:
        """Does nothing."""

    def pids(self) -> list[int]:
        """None that a control group could tell."""
        return []

    def kill(self, signum: int) -> int:
        """Reaches nobody: the caller signals the container's init instead."""
        return 0

    def freeze(self) -> None:
        """Cannot be."""
        raise CgroupError("freeze: the container was created with the cgroup manager disabled")

    def thaw(self) -> None:
        """Cannot be."""
        raise CgroupError("thaw: the container was created with the cgroup manager disabled")

    def frozen(self) -> bool:
        """Never."""
        return False

    def delete(self, kill: bool = False) -> None:
        """Does nothing."""


class Deadline:
    """The end of a wait; WAIT_SECONDS from now if nothing else is said."""

    __slots__ = ("end", "_pause")

    def __init__(self, seconds: float | None = None) -> None:
        self.end = time.monotonic() + (WAIT_SECONDS if seconds is None else seconds)
        self._pause = 0.0001

    def left(self) -> float:
        """Seconds until the end, 0 when it is past."""
        return max(0.0, self.end - time.monotonic())

    def pause(self) -> bool:
        """Sleeps a moment, longer each time (0.1 to 20 ms), where the kernel sends no event. False at the end."""
        left = self.left()
        time.sleep(min(self._pause, left))
        self._pause = min(self._pause * 2, 0.02)
        return left > 0


def make_directory(directory: str, mountpoint: str, made: list[str]) -> bool:
    """Makes a cgroup, and those above it that are missing; appends to ``made`` what was not there before.

    Gives False if the cgroup itself was there. Raises CgroupError.
    """
    if directory == mountpoint:
        raise CgroupError(f"make cgroup in {mountpoint}: nothing is mounted there any more")
    while True:
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            make_directory(os.path.dirname(directory), mountpoint, made)
        except OSError as error:
            raise CgroupError(f"make cgroup {directory}: {files.reason(error)}") from None
        else:
            made.append(directory)
            return True


def remove_directories(made: list[str]) -> None:
    """Removes what make_directory() made, as far as it is still there and nobody else has come to use it."""
    for place in reversed(made):
        try:
            os.rmdir(place)
        except OSError:
            pass


def try_rmdir(directory: str) -> bool:
    """Removes a cgroup; False while the kernel says that it is in use. Raises CgroupError."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise CgroupError(f"remove cgroup {directory}: {files.reason(error)}") from None
    return True


def remove_tree(directory: str) -> bool:
    """Removes a cgroup and all below it, deepest first; False if anything is in use yet. Raises CgroupError."""
    if try_rmdir(directory):
        return True
    for place in files.deepest_first(directory):
        try_rmdir(place)
    return try_rmdir(directory)


def busy(directory: str) -> CgroupError:
    """The error of a delete() that waited in vain."""
    pids = files.processes(directory)
    shown = ", ".join(map(str, pids[:5])) + (", ..." if len(pids) > 5 else "")
    what = f"{len(pids)} processes ({shown})" if pids else "something that is no process"
    return CgroupError(f"remove cgroup {directory}: {what} still in it after {WAIT_SECONDS:.0f} s")


def wait_for_ends(pids: list[int], deadline: Deadline) -> None:
    """Waits until these processes have ended, or until the deadline."""
    handles = _open_pidfds(pids[:_BATCH])
    try:
        poller = select.poll()
        for handle in handles.values():
            poller.register(handle, select.POLLIN)
        waiting = len(handles)
        while waiting and deadline.left():
            for handle, _ in poller.poll(deadline.left() * 1000):
                poller.unregister(handle)
                waiting -= 1
    finally:
        for handle in handles.values():
            os.close(handle)


def _open_pidfds(pids: list[int]) -> dict[int, int]:
    handles: dict[int, int] = {}
    for pid in pids:
        try:
            handles[pid] = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EINVAL):
                for handle in handles.values():
                    os.close(handle)
                raise CgroupError(f"pidfd_open {pid}: {files.reason(error)}") from None
    return handles


def _send(handle: int, signum: int) -> bool:
    try:
        native.pidfd_send_signal(handle, signum)
    except native.NativeError as error:
        if error.errno == errno.ESRCH:
            return False
        raise CgroupError(f"pidfd_send_signal {signum}: {files.reason(error)}") from None
    return True
