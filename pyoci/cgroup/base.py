# SPDX-License-Identifier: Apache-2.0
"""The interface of cgroup managers, and what the managers on a cgroup file system share."""

from __future__ import annotations

import errno
import os

from pyoci import native
from pyoci.cgroup import directories, files, hierarchies, resources
from pyoci.cgroup.plan import CgroupPlan
from pyoci.errors import CgroupError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from pyoci.cgroup.oom import OomWatch
    from pyoci.cgroup.resources import Wanted
    from pyoci.cgroup.stats import Stats
    from pyoci.config.documents import Resources

    class Saved(TypedDict):
        """The part of state.json about a cgroup."""

        manager: str
        path: str
        paths: dict[str, str]
        resources: Resources


SIGKILL = 9


class Cgroup:
    """The control group of one container. It exists from precreate() on. Every method copes with a group that is gone.

    path: from the root of the hierarchies; paths: controller → directory (``unified`` for cgroup2).

    A creation calls plan(), precreate(), entries() and descriptor() (by which init enters), attach() and limit(), in
    this order, and discard() if it fails. Managers do their work in different steps:

    ========== ============================= ============================= =======================
    manager    precreate                     attach                        limit
    ========== ============================= ============================= =======================
    cgroupfs   directories, device rules     nothing: init enters by itself control files
    systemd    nothing                       a scope around init's PID     properties, control files
    disabled   nothing                       nothing                       nothing
    ========== ============================= ============================= =======================
    """

    __slots__ = ("_made", "path", "paths")
    manager = "cgroupfs"
    attaches = False  # whether init has to wait for attach(), because it cannot enter by itself

    def __init__(self, path: str, paths: dict[str, str]) -> None:
        self.path = path
        self.paths = paths
        self._made: list[str] = []

    def plan(self, resources: Resources, owner: int = -1) -> CgroupPlan:
        """Returns the settings of the group in the form of this manager. Changes nothing, and reads only the host's
        controllers, so that faults are found before anything is created.

        resources: ``linux.resources`` of config.json; owner: see delegation.py. Raises SpecError.
        """
        raise NotImplementedError

    def precreate(self, plan: CgroupPlan) -> None:
        """Creates what can exist before there is a process: the directories, and what a process must find when it
        enters, a filled cpuset and the device rules. Undoes everything on failure.

        An empty group that exists is used; one that is frozen or has processes is refused (runtime-spec, "Control
        groups"). Raises CgroupError.
        """
        raise NotImplementedError

    def planned_entries(self) -> tuple[bool, int]:
        """Returns whether there will be a descriptor(), and the number of entries()."""
        return False, 0

    def descriptor(self) -> int:
        """Returns a new descriptor of the cgroup2 directory, owned by the caller, or -1 if there is none (only v1,
        disabled, or ``attaches`` before attach()). Raises CgroupError.
        """
        return -1

    def entries(self) -> list[int]:
        """Returns new descriptors, owned by the caller, one for each v1 hierarchy. A process of one thread writes "0"
        to them to enter. Raises CgroupError.
        """
        return []

    def attach(self, pid: int) -> None:
        """Puts init into the group, if the manager ``attaches``. init waits until this has returned.

        Raises CgroupError.
        """

    def limit(self, plan: CgroupPlan) -> None:
        """Sets the limits of the plan. They are for the container's program. They apply at once to processes that are
        in the group already, including what these have used so far. Raises CgroupError.
        """
        raise NotImplementedError

    def discard(self) -> None:
        """Undoes precreate() and everything after it: kills the processes, and removes the group and the groups above
        it that were created for it. Raises CgroupError.
        """
        self.delete(kill=True)
        directories.remove_made(self._made)

    def update(self, resources: Resources) -> None:
        """Sets the limits that ``resources`` names and leaves the others as they are. Raises SpecError, CgroupError."""
        raise NotImplementedError

    def joining(self, init: int, below: dict[str, str]) -> Cgroup:
        """Returns the group for one more process of the container.

        init: its PID; below: controller → path below the container's group, from ``exec --cgroup``; "" stands for all
        controllers. A v2 group that has enabled controllers for groups below it takes no process; the process then
        joins init's group. Raises UsageError, CgroupError.
        """
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Returns the processes in the group and below it."""
        raise NotImplementedError

    def kill(self, signum: int) -> int:
        """Sends a signal to every process in the group and below. Returns how many it reached.

        SIGKILL also reaches a group that is frozen, by itself or from above, and one that forks endlessly. Raises
        CgroupError.
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Freezes all processes. Returns when all are frozen. Raises CgroupError after WAIT_SECONDS."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Thaws all processes."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Returns whether this group itself is frozen (not only one above it)."""
        raise NotImplementedError

    def cannot_run(self) -> bool:
        """Returns whether its processes cannot run: the group, or one above it, is frozen."""
        return False

    def unkillable(self) -> bool:
        """Returns whether SIGKILL alone does not end its processes: in v1 they stay while the group, or one above it,
        is frozen. kill() ends them.
        """
        return False

    def oom_kills(self) -> int:
        """Returns how many processes of the group the kernel has killed at its memory limit, or 0 if that is unknown.
        Must be called before the group is removed.
        """
        return 0

    def memory_limit(self) -> str:
        """Returns the current memory limit with the name of its file, or "" if it is unknown."""
        return ""

    def stats(self) -> Stats:
        """Returns what the group has used: see stats.py. Raises CgroupError."""
        raise NotImplementedError

    def watch_oom(self) -> OomWatch:
        """Returns what tells when the kernel kills a process of the group at its memory limit: see oom.py. The caller
        closes it. Raises CgroupError.
        """
        raise NotImplementedError

    def delete(self, kill: bool = False) -> None:
        """Removes the group and those below it. Waits for processes that are about to end; with ``kill``, kills them
        first.

        Raises CgroupError if there are still processes after WAIT_SECONDS.
        """
        raise NotImplementedError

    def state(self, resources: Resources) -> Saved:
        """Returns what from_state() needs, and the resources, for a later update of some of them.

        Can be written as JSON.
        """
        return {"manager": self.manager, "path": self.path, "paths": dict(self.paths), "resources": resources}

    def _signal_each(self, signum: int) -> int:
        """Signals the processes one by one, through pidfds.

        A PID from cgroup.procs may belong to another process by the time it is signalled. So pidfds are opened, and the
        list is read again: a process that is still listed is the one that its pidfd was opened for.
        """
        reached = 0
        for handles in directories.open_pidfds(self.pids()):
            try:
                still = set(self.pids())
                reached += sum(pid in still and _send(handle, signum) for pid, handle in handles.items())
            finally:
                for handle in handles.values():
                    os.close(handle)
        return reached


class Disabled(Cgroup):
    """No control group. The processes stay in the groups of the caller, who is responsible for limits."""

    __slots__ = ()
    manager = "disabled"

    def __init__(self) -> None:
        super().__init__("", {})

    def plan(self, resources: Resources, owner: int = -1) -> CgroupPlan:
        """Returns an empty plan."""
        return CgroupPlan()

    def precreate(self, plan: CgroupPlan) -> None:
        """Does nothing."""

    def limit(self, plan: CgroupPlan) -> None:
        """Does nothing."""

    def update(self, resources: Resources) -> None:
        """Raises CgroupError: there is no group to limit."""
        raise CgroupError("update resources: the container was created with the cgroup manager disabled")

    def joining(self, init: int, below: dict[str, str]) -> Cgroup:
        """Returns this object."""
        return self

    def pids(self) -> list[int]:
        """Returns no processes: no group knows them."""
        return []

    def kill(self, signum: int) -> int:
        """Returns 0: it reaches no process, so the caller signals init instead."""
        return 0

    def freeze(self) -> None:
        """Raises CgroupError."""
        raise CgroupError("freeze: the container was created with the cgroup manager disabled")

    def thaw(self) -> None:
        """Raises CgroupError."""
        raise CgroupError("thaw: the container was created with the cgroup manager disabled")

    def frozen(self) -> bool:
        """Returns False."""
        return False

    def stats(self) -> Stats:
        """Raises CgroupError."""
        raise CgroupError("statistics: the container was created with the cgroup manager disabled")

    def delete(self, kill: bool = False) -> None:
        """Does nothing."""


def wanted(given: Resources) -> Wanted:
    """Returns what ``linux.resources`` asks of a group on this host. Raises SpecError."""
    return resources.wanted(given, hierarchies.page_sizes() if given.get("hugepageLimits") else ())


def below(directory: str, path: str) -> str:
    """Returns the directory of ``exec --cgroup PATH``, below that of the container. Raises UsageError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError(f"exec: flag --cgroup: {path!r} holds .., which would leave the container's cgroup")
    place = "/".join((directory, *parts))
    if not os.path.isdir(place):
        raise UsageError(f"exec: flag --cgroup: there is no cgroup {place}")
    return place


def _send(handle: int, signum: int) -> bool:
    try:
        native.pidfd_send_signal(handle, signum)
    except native.NativeError as error:
        if error.errno == errno.ESRCH:
            return False
        raise CgroupError(f"pidfd_send_signal {signum}: {files.reason(error)}") from error
    return True
