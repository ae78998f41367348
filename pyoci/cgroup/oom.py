# SPDX-License-Identifier: Apache-2.0
"""Tells when the kernel kills a process of a group at its memory limit."""

from __future__ import annotations

import os

from pyoci.cgroup import directories, files
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

POLLIN, POLLPRI = 1, 2  # poll(2)
_MOMENT = 1.0  # seconds


class OomWatch:
    """A descriptor to poll for ``events``, and whether something has happened since the last look.

    descriptor: -1 if the group has no memory controller; events: POLLIN or POLLPRI; kills: returns how many processes
    the kernel has killed.
    """

    __slots__ = ("_directory", "_kept", "_kills", "_seen", "descriptor", "events")

    def __init__(
        self, descriptor: int, events: int, kills: Callable[[], int], kept: int = -1, directory: str = ""
    ) -> None:
        self.descriptor = descriptor
        self.events = events
        self._kills = kills
        self._seen = kills()
        self._directory = directory  # of a v1 group
        self._kept = kept  # a second descriptor, to be closed with the first

    def happened(self) -> bool:
        """Returns whether processes have been killed since the last call, or stand because none may be killed (v1, OOM
        killer off). Makes the descriptor ready to poll again.
        """
        signalled = self._read()
        deadline = directories.Deadline(_MOMENT)
        while (now := self._kills()) <= self._seen:
            # v1 signals before it kills.
            if not signalled or not deadline.pause():
                return signalled and self._stuck()
        self._seen = now
        return True

    def _read(self) -> bool:
        """Returns whether v1 has signalled. On v2, and if the group is gone, the counter says what there is to say."""
        try:
            if self.events == POLLIN:
                return bool(os.read(self.descriptor, 8))
            if self.descriptor >= 0:
                os.pread(self.descriptor, 4096, 0)
        except OSError:
            pass
        return False

    def _stuck(self) -> bool:
        return self._directory != "" and files.counter(f"{self._directory}/memory.oom_control", "under_oom") == 1

    def close(self) -> None:
        """Closes the descriptors."""
        for descriptor in (self.descriptor, self._kept):
            if descriptor >= 0:
                os.close(descriptor)


def none() -> OomWatch:
    """Returns a watch for a group without a memory controller."""
    return OomWatch(-1, 0, lambda: 0)


def by_eventfd(directory: str, kills: Callable[[], int]) -> OomWatch:
    """Returns a watch of a v1 group (cgroup-v1/memory.rst, "OOM Control"). Raises CgroupError."""
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    control = -1
    try:
        control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        files.write(f"{directory}/cgroup.event_control", f"{event} {control}")
    except OSError as error:
        os.close(event)
        if control >= 0:
            os.close(control)
        raise CgroupError(f"watch {directory}/memory.oom_control: {files.reason(error)}") from error
    return OomWatch(event, POLLIN, kills, control, directory)


def by_poll(directory: str, kills: Callable[[], int]) -> OomWatch:
    """Returns a watch of a v2 group: its memory.events is polled (cgroup-v2.rst). Raises CgroupError."""
    try:
        descriptor = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        os.pread(descriptor, 4096, 0)  # changes since the last read count
    except FileNotFoundError:
        return none()
    except OSError as error:
        raise CgroupError(f"watch {directory}/memory.events: {files.reason(error)}") from error
    return OomWatch(descriptor, POLLPRI, kills)
