# SPDX-License-Identifier: Apache-2.0
"""Creates and removes the directories of cgroups, and waits for their processes."""

from __future__ import annotations

import errno
import os
import select
import time

from pyoci.cgroup import files
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_SECONDS = 10.0  # the longest that freeze() and delete() wait for the kernel
_BATCH = 256  # pidfds open at a time


class Deadline:
    """The end of a wait, by default in WAIT_SECONDS."""

    __slots__ = ("end", "_pause")

    def __init__(self, seconds: float | None = None) -> None:
        self.end = time.monotonic() + (WAIT_SECONDS if seconds is None else seconds)
        self._pause = 0.0001

    def left(self) -> float:
        """Returns the seconds until the end, 0 if it is past."""
        return max(0.0, self.end - time.monotonic())

    def pause(self) -> bool:
        """Sleeps, a little longer each time (0.1 to 20 ms), because the kernel sends no event.

        Returns False at the end.
        """
        left = self.left()
        time.sleep(min(self._pause, left))
        self._pause = min(self._pause * 2, 0.02)
        return left > 0


def make(directory: str, mountpoint: str, made: list[str]) -> bool:
    """Creates a cgroup, and those above it that are missing. Appends what it created to ``made``.

    Returns False if the cgroup itself existed. Raises CgroupError.
    """
    if directory == mountpoint:
        raise CgroupError(f"make cgroup in {mountpoint}: nothing is mounted there any more")
    while True:
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            make(os.path.dirname(directory), mountpoint, made)
        except OSError as error:
            raise CgroupError(f"make cgroup {directory}: {files.reason(error)}{files.hint(error)}") from error
        else:
            made.append(directory)
            return True


def remove_made(made: list[str]) -> None:
    """Removes what make() created, unless it is gone or used by others."""
    for place in reversed(made):
        try:
            os.rmdir(place)
        except OSError:
            pass


def remove_tree(directory: str) -> bool:
    """Removes a cgroup and all below it, deepest first. Returns False if one is in use. Raises CgroupError."""
    if _try_rmdir(directory):
        return True
    for place in files.deepest_first(directory):
        _try_rmdir(place)
    return _try_rmdir(directory)


def _try_rmdir(directory: str) -> bool:
    """Removes a cgroup. Returns False if the kernel says that it is in use. Raises CgroupError."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise CgroupError(f"remove cgroup {directory}: {files.reason(error)}") from error
    return True


def busy(directory: str) -> CgroupError:
    """Returns the error for a removal that has waited too long."""
    pids = files.processes(directory)
    shown = ", ".join(map(str, pids[:5])) + (", ..." if len(pids) > 5 else "")
    what = f"{len(pids)} processes ({shown})" if pids else "something that is no process"
    return CgroupError(f"remove cgroup {directory}: {what} still in it after {WAIT_SECONDS:.0f} s")


def frozen_above(path: str) -> CgroupError:
    """Returns the error for a group that is created below a frozen one."""
    return CgroupError(f"container's cgroup {path}: one above it is frozen; thaw that, or use another cgroupsPath")


def wait_for_ends(pids: list[int], deadline: Deadline) -> None:
    """Waits until these processes have ended, or until the deadline. Returns at once if waiting is impossible (no
    descriptors are left, or the caller's filter denies poll). The caller checks again.
    """
    try:
        for handles in open_pidfds(pids[:_BATCH]):
            try:
                _wait_for_all(handles, deadline)
            finally:
                for handle in handles.values():
                    os.close(handle)
    except (OSError, CgroupError):
        pass


def _wait_for_all(handles: dict[int, int], deadline: Deadline) -> None:
    poller = select.poll()
    for handle in handles.values():
        poller.register(handle, select.POLLIN)
    waiting = len(handles)
    while waiting and deadline.left():
        for handle, _ in poller.poll(deadline.left() * 1000):
            poller.unregister(handle)
            waiting -= 1


def open_pidfds(pids: list[int]) -> Iterator[dict[int, int]]:
    """Yields PID → pidfd of the processes that still exist, in batches. The caller closes a batch before the next one.

    Raises CgroupError if not even one can be opened.
    """
    handles: dict[int, int] = {}
    waiting = pids[::-1]
    while waiting:
        try:
            handles[waiting[-1]] = os.pidfd_open(waiting[-1])
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and handles:
                yield handles
                handles = {}
                continue
            if error.errno not in (errno.ESRCH, errno.EINVAL):
                for handle in handles.values():
                    os.close(handle)
                raise CgroupError(f"pidfd_open {waiting[-1]}: {files.reason(error)}") from error
        waiting.pop()
        if len(handles) == _BATCH:
            yield handles
            handles = {}
    if handles:
        yield handles
