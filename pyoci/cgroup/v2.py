# SPDX-License-Identifier: Apache-2.0
"""Control groups version 2: one directory (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno
import os
import select

from pyoci.cgroup import base, devices, directories, files, limits_v2
from pyoci.cgroup.hierarchies import UNIFIED
from pyoci.cgroup.plan import CgroupPlan
from pyoci.errors import CgroupError, SpecError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyoci.cgroup.files import Write
    from pyoci.cgroup.oom import OomWatch
    from pyoci.cgroup.stats import Stats
    from pyoci.config.documents import Memory, Resources

_DELEGATE = "/sys/kernel/cgroup/delegate"
_DELEGATED = (
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
)  # used if the kernel has no such list (config-linux.md)


class V2(base.Cgroup):
    """One control group of the unified hierarchy.

    available: the host's controllers, if they are already known.
    """

    __slots__ = ("_available", "directory")

    def __init__(self, path: str, directory: str, available: Collection[str] | None = None) -> None:
        super().__init__(path, {UNIFIED: directory})
        self.directory = directory
        self._available = available

    def plan(self, resources: Resources, owner: int = -1) -> CgroupPlan:
        """See Cgroup.plan."""
        if self._available is None:
            self._available = _words(f"{self._mountpoint()}/cgroup.controllers")
        return self._plan(resources, owner, "max")

    def precreate(self, plan: CgroupPlan) -> None:
        """See Cgroup.precreate. The files ``cgroup.*`` are written here, because some of them decide who may enter."""
        self._made = []
        try:
            if not directories.make(self.directory, self._mountpoint(), self._made):
                self._refuse_used()
            self._refuse_frozen_parent()
            self._hand_down({controller: pointer for controller, _, _, pointer in plan.writes})
            self._write([each for each in plan.writes if each[0] == "cgroup"])
            if plan.code:
                self._attach(plan.code)
            if plan.owner >= 0:
                self._delegate(plan.owner)
        except BaseException:
            directories.remove_made(self._made)
            raise

    def limit(self, plan: CgroupPlan) -> None:
        """See Cgroup.limit."""
        self._write([each for each in plan.writes if each[0] != "cgroup"])

    def update(self, resources: Resources) -> None:
        """See Cgroup.update."""
        self._available = _words(f"{self.directory}/cgroup.controllers")
        self._check_before_update(resources.get("memory") or {})
        resources, quota = self._with_current(resources)
        plan = self._plan(resources, -1, quota)
        kept = files.values([f"{self.directory}/{file}" for _, file, _, _ in plan.writes])
        try:
            self._write(plan.writes)
            if plan.rules:
                self._attach(plan.code)
        except CgroupError:
            files.restore(kept)
            raise

    def planned_entries(self) -> tuple[bool, int]:
        """See Cgroup.planned_entries."""
        return True, 0

    def descriptor(self) -> int:
        """See Cgroup.descriptor."""
        return files.open_directory(self.directory)

    def joining(self, init: int, below: dict[str, str]) -> base.Cgroup:
        """See Cgroup.joining. A group that has enabled controllers for groups below it takes no processes (the "no
        internal process" constraint of cgroup-v2.rst). init is then in one of those, and the new process joins it
        there.
        """
        for controller in below:
            if controller not in ("", UNIFIED):
                raise UsageError(f"exec: flag --cgroup: the container has no cgroup of controller {controller}")
        for path in below.values():
            return V2(self.path, base.below(self.directory, path))
        if not _words(f"{self.directory}/cgroup.subtree_control"):
            return self
        return V2(self.path, self.directory + self._below_of(init))

    def pids(self) -> list[int]:
        """See Cgroup.pids."""
        return files.processes(self.directory)

    def kill(self, signum: int) -> int:
        """See Cgroup.kill. cgroup.kill (Linux 5.14) reaches frozen and forking processes in one write."""
        if signum != base.SIGKILL:
            return self._signal_each(signum)
        reached = len(self.pids())
        path = f"{self.directory}/cgroup.kill"
        try:
            files.write(path, "1")
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise files.failed(path, error, "1") from error
        return reached

    def freeze(self) -> None:
        """See Cgroup.freeze."""
        self._set_frozen("1")
        if not self._wait("frozen 1", directories.Deadline()):
            self._set_frozen("0")
            raise CgroupError(
                f"freeze cgroup {self.directory}: not all processes stand after {directories.WAIT_SECONDS:.0f} s"
            )

    def thaw(self) -> None:
        """See Cgroup.thaw."""
        try:
            files.write(f"{self.directory}/cgroup.freeze", "0")
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.failed(f"{self.directory}/cgroup.freeze", error, "0") from error

    def frozen(self) -> bool:
        """See Cgroup.frozen."""
        try:
            return files.read(f"{self.directory}/cgroup.freeze").strip() == "1"
        except OSError:
            return False

    def cannot_run(self) -> bool:
        """See Cgroup.cannot_run; ``frozen`` of cgroup.events also tells of a frozen group above (cgroup-v2.rst)."""
        return files.counter(f"{self.directory}/cgroup.events", "frozen") == 1

    def oom_kills(self) -> int:
        """See Cgroup.oom_kills; ``oom_kill`` of memory.events, which counts the groups below too (cgroup-v2.rst)."""
        return files.counter(f"{self.directory}/memory.events", "oom_kill")

    def memory_limit(self) -> str:
        """See Cgroup.memory_limit."""
        return files.shown(f"{self.directory}/memory.max")

    def stats(self) -> Stats:
        """See Cgroup.stats."""
        from pyoci.cgroup import stats_v2

        return stats_v2.read(self.directory)

    def watch_oom(self) -> OomWatch:
        """See Cgroup.watch_oom."""
        from pyoci.cgroup import oom

        return oom.by_poll(self.directory, self.oom_kills)

    def delete(self, kill: bool = False) -> None:
        """See Cgroup.delete."""
        deadline = directories.Deadline()
        while not directories.remove_tree(self.directory):
            if kill:
                self.kill(base.SIGKILL)
                kill = False
            self._wait("populated 0", deadline)
            # An empty group may stay busy for a moment, and there is no event for the end of that.
            if not deadline.pause():
                raise directories.busy(self.directory)

    def _mountpoint(self) -> str:
        return self.directory.removesuffix(self.path)

    def _plan(self, resources: Resources, owner: int, quota: str) -> CgroupPlan:
        writes = limits_v2.writes(base.wanted(resources), self._available or (), quota)
        listed = resources.get("devices")
        if not listed:
            return CgroupPlan(writes, owner=owner)
        from pyoci.cgroup import device_filter

        rules = devices.rules(listed)
        code = b"" if device_filter.allows_all(rules) else device_filter.program(rules)
        return CgroupPlan(writes, rules, code=code, owner=owner)

    def _below_of(self, init: int) -> str:
        """Returns the path of a process below this group, or "" if it is not below."""
        try:
            line = files.read(f"/proc/{init}/cgroup").partition("0::")[2].partition("\n")[0]
        except OSError:
            return ""  # it has ended; entering the group will report that
        _, found, below = f"{line}/".partition(f"{self.path}/")
        return f"/{below}".rstrip("/") if found else ""

    def _refuse_used(self) -> None:
        if self.frozen():
            raise CgroupError(f"container's cgroup {self.directory} is frozen; thaw it, or use another cgroupsPath")
        if self.pids():
            raise CgroupError(f"container's cgroup {self.directory} is not empty; use another cgroupsPath")

    def _refuse_frozen_parent(self) -> None:
        """Raises CgroupError if a group above is frozen: a process that enters would stop at once."""
        if self.path.count("/") > 1 and "frozen 1" in self._read("cgroup.events").splitlines():
            raise directories.frozen_above(self.path)

    def _hand_down(self, needed: dict[str, str]) -> None:
        """Enables all controllers of the host, from the root to the group above the container's. Engines read
        statistics even of controllers without a limit.

        needed: controller → the property that needs it. The others may be missing.
        """
        place = self._mountpoint()
        available = list(self._available or ())
        for part in self.path.split("/")[1:]:
            path = f"{place}/cgroup.subtree_control"
            enabled = _words(path)
            missing = [controller for controller in available if controller not in enabled]
            refused = _enable(path, missing, needed) if missing else ()
            available = [controller for controller in available if controller not in refused]
            place = f"{place}/{part}"

    def _delegate(self, owner: int) -> None:
        """Gives the directory, and the files of the kernel's list, to the container's root (config-linux.md, "Cgroup
        ownership"). It may then create groups below, but not change its own limits.
        """
        try:
            names = files.read(_DELEGATE).split()
        except OSError:
            names = list(_DELEGATED)
        for path in (self.directory, *(f"{self.directory}/{name}" for name in names)):
            try:
                os.chown(path, owner, -1)
            except FileNotFoundError:
                continue  # its controller is not enabled
            except OSError as error:
                raise CgroupError(f"chown {path} to {owner}: {files.reason(error)}") from error

    def _read(self, file: str) -> str:
        try:
            return files.read(f"{self.directory}/{file}")
        except OSError as error:
            raise CgroupError(f"read {self.directory}/{file}: {files.reason(error)}") from error

    def _write(self, writes: list[Write]) -> None:
        groups: dict[str, list[Write]] = {}
        for each in writes:
            controller, file, value, _ = each
            # Without swap support there is no such file, and "no swap" and "all swap" need not be set.
            if file == "memory.swap.max" and value in ("0", "max") and not os.path.exists(f"{self.directory}/{file}"):
                continue
            groups.setdefault(controller, []).append(each)
        for part in groups.values():
            files.apply(self.directory, part)

    def _with_current(self, resources: Resources) -> tuple[Resources, str]:
        """Returns the resources with the current limit of memory, if that of swap follows from it; and the current
        first word of cpu.max, which stays if only a period is given.
        """
        memory, cpu, quota = resources.get("memory") or {}, resources.get("cpu") or {}, "max"
        available = self._available or ()
        if (memory.get("swap") or 0) > 0 and not memory.get("limit") and "memory" in available:
            limit = self._read("memory.max").strip()
            resources = {**resources, "memory": {**memory, "limit": -1 if limit == "max" else int(limit)}}
        if cpu.get("period") and not cpu.get("quota") and "cpu" in available:
            quota = self._read("cpu.max").split()[0]
        return resources, quota

    def _check_before_update(self, memory: Memory) -> None:
        """Raises SpecError for a limit below the usage: v2 would kill, and v1 returns EBUSY (checkBeforeUpdate)."""
        limit = memory.get("limit") or -1
        if not memory.get("checkBeforeUpdate") or limit < 0:
            return
        usage = int(self._read("memory.current"))
        if usage > limit:
            raise SpecError("/linux/resources/memory/limit", f"less than the {usage} bytes in use", limit)

    def _attach(self, code: bytes) -> None:
        from pyoci.cgroup import device_filter

        if code:
            device_filter.attach(self.directory, code)
        else:
            device_filter.detach(self.directory)

    def _set_frozen(self, value: str) -> None:
        path = f"{self.directory}/cgroup.freeze"
        try:
            files.write(path, value)
        except OSError as error:
            raise files.failed(path, error, value) from error

    def _wait(self, line: str, deadline: directories.Deadline) -> bool:
        """Waits until cgroup.events has that line, or the group is gone. Returns False at the deadline."""
        try:
            events = os.open(f"{self.directory}/cgroup.events", os.O_RDONLY)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise CgroupError(f"open {self.directory}/cgroup.events: {files.reason(error)}") from error
        try:
            poller = select.poll()
            poller.register(events, select.POLLPRI)
            # The file is polled for changes since the last read (cgroup-v2.rst). The kernel delays an event by 10 ms if
            # there was one just before (cgroup_file_notify), so the first reads do not wait for it.
            step = 1.0
            while True:
                if line in os.pread(events, 4096, 0).decode().splitlines():
                    return True
                left = deadline.left()
                if not left:
                    return False
                try:
                    poller.poll(min(step, left * 1000))
                except OSError:
                    deadline.pause()  # the caller's filter denies poll
                step *= 2
        except OSError as error:
            if error.errno == errno.ENODEV:
                return True
            raise CgroupError(f"read {self.directory}/cgroup.events: {files.reason(error)}") from error
        finally:
            os.close(events)


def _enable(path: str, missing: list[str], needed: dict[str, str]) -> list[str]:
    """Enables controllers. Returns those that the kernel refuses. Raises CgroupError if one of these is needed."""
    try:
        files.write(path, " ".join(f"+{controller}" for controller in missing))
        return []
    except OSError:
        pass  # one is refused: find out which one, and whether it matters
    refused = []
    for controller in missing:
        try:
            files.write(path, f"+{controller}")
        except OSError as error:
            if controller in needed:
                hint = "; a group with processes of its own cannot hand controllers down"
                why = files.reason(error) + (hint if error.errno == errno.EBUSY else "")
                raise CgroupError(f"write {path}: +{controller}: {why} (needed by {needed[controller]})") from error
            refused.append(controller)
    return refused


def _words(path: str) -> set[str]:
    try:
        return set(files.read(path).split())
    except OSError as error:
        raise CgroupError(f"read {path}: {files.reason(error)}") from error
