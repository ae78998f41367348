# SPDX-License-Identifier: Apache-2.0
"""What a manager of control groups does, whichever it is, and what those on a cgroup file system have in common."""

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

    from pyoci.cgroup.resources import Wanted
    from pyoci.config.documents import Resources

    class Saved(TypedDict):
        """What state.json has of a cgroup."""

        manager: str
        path: str
        paths: dict[str, str]
        resources: Resources


SIGKILL = 9


class Cgroup:
    """The control group of one container. Nothing exists until precreate(); every method copes with one that is gone.

    path: from the root of the hierarchies; paths: controller → directory (``unified`` for cgroup2).

    A creation calls, in this order: plan(), precreate(), entries() and descriptor() for init to enter by,
    attach(), limit(); and discard() if it fails. The managers differ in which of these has something to do:

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
        """Returns what the group is to hold, in this manager's words. Changes nothing, and looks at nothing but the
        host's controllers: what is refused here is refused before anything is made.

        resources: ``linux.resources`` of config.json; owner: see delegation.py. Raises SpecError.
        """
        raise NotImplementedError

    def precreate(self, plan: CgroupPlan) -> None:
        """Makes what can be made before there is a process: the directories, and what a process has to find when it
        enters: a filled cpuset and the device rules. Undoes all of it on failure.

        An empty group that exists is used; one that is frozen or has processes is refused (runtime-spec, "Control
        groups"). Raises CgroupError.
        """
        raise NotImplementedError

    def doors(self) -> tuple[bool, int]:
        """Returns whether there will be a descriptor(), and how many entries() there will be."""
        return False, 0

    def descriptor(self) -> int:
        """Returns a new descriptor of the directory for CLONE_INTO_CGROUP, owned by the caller; -1 where there is none
        (v1 alone, disabled, and with ``attaches`` before attach()). Raises CgroupError.
        """
        return -1

    def entries(self) -> list[int]:
        """New descriptors, owned by the caller, to which a process of one thread writes "0" to move itself in: one for
        each v1 hierarchy. Raises CgroupError.
        """
        return []

    def attach(self, pid: int) -> None:
        """Puts init into the group, if the manager ``attaches``; until this has returned, init waits. Raises
        CgroupError.
        """

    def limit(self, plan: CgroupPlan) -> None:
        """Sets the limits of the plan. They are for the container's program: a process that is in the group already
        is held to them from now on, with what it has used till now. Raises CgroupError.
        """
        raise NotImplementedError

    def discard(self) -> None:
        """Undoes precreate() and all that came after it: kills the processes, removes the group, and those above it
        that were missing before. Raises CgroupError.
        """
        self.delete(kill=True)
        directories.remove_made(self._made)

    def update(self, resources: Resources) -> None:
        """Sets the limits that ``resources`` names and leaves the others as they are. Raises SpecError, CgroupError."""
        raise NotImplementedError

    def joining(self, init: int, below: dict[str, str]) -> Cgroup:
        """Returns the group for one more process of the container.

        init: its PID; below: controller → path below the container's group, as ``exec --cgroup`` has it, where the
        empty controller stands for all. A group that has handed its processes down (cgroup v2) takes none: the process
        then joins init. Raises UsageError, CgroupError.
        """
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Returns the processes in the group and below it."""
        raise NotImplementedError

    def kill(self, signum: int) -> int:
        """Sends a signal to every process in the group and below. Returns how many it reached.

        SIGKILL reaches a group that is frozen, itself or from above, and one that forks without end. Raises
        CgroupError.
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Stops every process, and returns when all of them stand. Raises CgroupError after WAIT_SECONDS."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Lets the processes run again."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Returns whether freeze() was called on this group (and not on one above it)."""
        raise NotImplementedError

    def unkillable(self) -> bool:
        """Returns whether its processes do not end by SIGKILL alone: v1 keeps them while the group, or one above it, is
        frozen. kill() ends them.
        """
        return False

    def oom_kills(self) -> int:
        """Returns how many processes of the group the kernel has killed because its memory limit was used up; 0 where
        that cannot be known. Read it before the group is removed.
        """
        return 0

    def memory_limit(self) -> str:
        """Returns the memory limit that is in force, with the name of its file; "" where that cannot be known."""
        return ""

    def delete(self, kill: bool = False) -> None:
        """Removes the group and those below it, waiting for processes that are about to end; with ``kill``, those
        that are there are killed first.

        Raises CgroupError if processes are still there after WAIT_SECONDS.
        """
        raise NotImplementedError

    def state(self, resources: Resources) -> Saved:
        """Returns what from_state() needs, and what the group holds, for a later update of a part of it.

        Fit for JSON.
        """
        return {"manager": self.manager, "path": self.path, "paths": dict(self.paths), "resources": resources}

    def _signal_each(self, signum: int) -> int:
        """Signals the processes one by one, through pidfds.

        A number read from cgroup.procs may belong to somebody else by the time of the kill(2). So: read, open
        pidfds, read again; who is still listed has the pidfd that was opened for it.
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
    """No control group: the processes stay where the runtime's caller is, and limits are the caller's business."""

    __slots__ = ()
    manager = "disabled"

    def __init__(self) -> None:
        super().__init__("", {})

    def plan(self, resources: Resources, owner: int = -1) -> CgroupPlan:
        """Nothing."""
        return CgroupPlan()

    def precreate(self, plan: CgroupPlan) -> None:
        """Does nothing."""

    def limit(self, plan: CgroupPlan) -> None:
        """Does nothing."""

    def update(self, resources: Resources) -> None:
        """Cannot be: there is nothing to limit."""
        raise CgroupError("update resources: the container was created with the cgroup manager disabled")

    def joining(self, init: int, below: dict[str, str]) -> Cgroup:
        """This one."""
        return self

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


def wanted(given: Resources) -> Wanted:
    """Returns what ``linux.resources`` want of a group on this host. Raises SpecError."""
    return resources.wanted(given, hierarchies.page_sizes() if given.get("hugepageLimits") else ())


def below(directory: str, path: str) -> str:
    """Returns the directory of ``exec --cgroup PATH`` below a container's. Raises UsageError."""
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
