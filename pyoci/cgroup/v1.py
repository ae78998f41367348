# SPDX-License-Identifier: Apache-2.0
"""Control groups version 1: one directory in each mounted hierarchy (Documentation/admin-guide/cgroup-v1).

On a hybrid host the cgroup2 hierarchy is one of them. It has no limits, but systemd and others use it to find the
processes that belong together.
"""

from __future__ import annotations

import os

from pyoci.cgroup import base, devices, directories, files, limits_v1
from pyoci.cgroup.hierarchies import UNIFIED
from pyoci.cgroup.plan import CgroupPlan
from pyoci.errors import CgroupError, SpecError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.files import Write
    from pyoci.cgroup.oom import OomWatch
    from pyoci.cgroup.stats import Stats
    from pyoci.config.documents import Resources

# The hierarchies to list processes from, first those to which a container is least likely to have write access.
_LISTED_IN = ("freezer", "devices", "pids", "memory", "name=systemd")
_FREEZE_BEFORE_KILL = 2.0  # seconds; a process in an uninterruptible wait prevents a v1 group from freezing


class V1(base.Cgroup):
    """One control group in several hierarchies."""

    __slots__ = ()

    def plan(self, resources: Resources, owner: int = -1) -> CgroupPlan:
        """See Cgroup.plan. Root keeps the group, because delegation is not secure in v1 (config-linux.md)."""
        writes = limits_v1.writes(base.wanted(resources), self.paths)
        listed = resources.get("devices")
        if not listed:
            return CgroupPlan(writes)
        if "devices" not in self.paths:
            raise SpecError("/linux/resources/devices", "the devices controller is not mounted on this host")
        rules = devices.rules(listed)
        return CgroupPlan(writes, rules, devices.exceptions(rules))

    def precreate(self, plan: CgroupPlan) -> None:
        """See Cgroup.precreate. The device rules are written in several steps. In between, accesses could be refused
        that are allowed before and after, so the group must be empty.
        """
        cpuset = [each for each in plan.writes if each[0] == "cpuset"]
        self._made = []
        try:
            for directory in self._directories():
                if not directories.make(directory, directory.removesuffix(self.path), self._made):
                    self._refuse_used(directory)
            self._refuse_frozen_parent()
            if "cpuset" in self.paths:
                self._inherit_cpuset({file for _, file, _, _ in cpuset})
            self._write(cpuset)
            if plan.exceptions:
                # A new group has the rules of the one above it; the first line resets them.
                self._write_devices(devices.transition(devices.Exceptions(True), plan.exceptions))
        except BaseException:
            directories.remove_made(self._made)
            raise

    def limit(self, plan: CgroupPlan) -> None:
        """See Cgroup.limit."""
        self._write([each for each in plan.writes if each[0] != "cpuset"])

    def update(self, resources: Resources) -> None:
        """See Cgroup.update."""
        plan = self.plan(resources)
        steps = []
        if plan.exceptions:
            path = f"{self.paths['devices']}/devices.list"
            try:
                before = devices.parse_list(files.read(path))
            except OSError as error:
                raise CgroupError(f"read {path}: {files.reason(error)}") from error
            steps = devices.transition(before, plan.exceptions)
        kept = files.values([f"{self.paths[controller]}/{file}" for controller, file, _, _ in plan.writes])
        try:
            self._write(plan.writes)
            self._write_devices(steps)
        except CgroupError:
            files.restore(kept)
            raise

    def descriptor(self) -> int:
        """See Cgroup.descriptor: the directory in cgroup2, on a hybrid host."""
        return files.open_directory(self.paths[UNIFIED]) if UNIFIED in self.paths else -1

    def planned_entries(self) -> tuple[bool, int]:
        """See Cgroup.planned_entries."""
        unified = UNIFIED in self.paths
        return unified, len(self._directories()) - unified

    def entries(self) -> list[int]:
        """See Cgroup.entries."""
        opened: list[int] = []
        unified = self.paths.get(UNIFIED)
        for directory in self._directories():
            if directory == unified:
                continue
            path = f"{directory}/tasks"
            try:
                opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for descriptor in opened:
                    os.close(descriptor)
                raise files.failed(path, error) from error
        return opened

    def joining(self, init: int, below: dict[str, str]) -> base.Cgroup:
        """See Cgroup.joining. A v1 group takes processes even if there are groups below it."""
        if not below:
            return self
        paths = dict(self.paths)
        for controller, path in below.items():
            if controller and controller not in paths:
                raise UsageError(f"exec: flag --cgroup: the container has no cgroup of controller {controller}")
            for name in [controller] if controller else self.paths:
                if name == UNIFIED and not controller and not os.path.isdir(f"{paths[name]}/{path}"):
                    continue  # groups that are made per controller have none there
                paths[name] = base.below(paths[name], path)
        return V1(self.path, paths)

    def pids(self) -> list[int]:
        """See Cgroup.pids."""
        return files.processes(self._main())

    def kill(self, signum: int) -> int:
        """See Cgroup.kill. For SIGKILL the group is frozen, so that no process forks meanwhile, and thawed again."""
        if signum != base.SIGKILL:
            return self._signal_each(signum)
        reached = 0
        freezer = self.paths.get("freezer")
        deadline = directories.Deadline()
        while True:
            frozen = freezer is not None and self._freeze(_FREEZE_BEFORE_KILL)
            try:
                now = self._signal_each(signum)
            finally:
                if freezer is not None:
                    self._release(freezer)
            reached += now
            if frozen or not now or not deadline.left():
                return reached

    def freeze(self) -> None:
        """See Cgroup.freeze."""
        directory = self._freezer("freeze")
        if not os.path.exists(directory):
            raise CgroupError(f"freeze cgroup {directory}: it is gone")
        if not self._freeze(directories.WAIT_SECONDS):
            self.thaw()
            raise CgroupError(
                f"freeze cgroup {directory}: not all processes stand after {directories.WAIT_SECONDS:.0f} s"
            )

    def thaw(self) -> None:
        """See Cgroup.thaw."""
        path = f"{self._freezer('thaw')}/freezer.state"
        try:
            files.write(path, "THAWED")
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.failed(path, error, "THAWED") from error

    def frozen(self) -> bool:
        """See Cgroup.frozen."""
        if "freezer" not in self.paths:
            return False
        try:
            # Not freezer.state, which also reports a frozen group above.
            return files.read(f"{self.paths['freezer']}/freezer.self_freezing").strip() == "1"
        except OSError:
            return False

    def cannot_run(self) -> bool:
        """See Cgroup.cannot_run."""
        return "freezer" in self.paths and _state(self.paths["freezer"]) != "THAWED"

    def unkillable(self) -> bool:
        """See Cgroup.unkillable."""
        return self.cannot_run()

    def oom_kills(self) -> int:
        """See Cgroup.oom_kills; ``oom_kill`` of memory.oom_control (cgroup-v1/memory.rst, Linux 4.13)."""
        return files.counter(f"{self.paths['memory']}/memory.oom_control", "oom_kill") if "memory" in self.paths else 0

    def memory_limit(self) -> str:
        """See Cgroup.memory_limit."""
        return files.shown(f"{self.paths['memory']}/memory.limit_in_bytes") if "memory" in self.paths else ""

    def stats(self) -> Stats:
        """See Cgroup.stats."""
        from pyoci.cgroup import stats_v1

        return stats_v1.read(self.paths)

    def watch_oom(self) -> OomWatch:
        """See Cgroup.watch_oom."""
        from pyoci.cgroup import oom

        return oom.by_eventfd(self.paths["memory"], self.oom_kills) if "memory" in self.paths else oom.none()

    def delete(self, kill: bool = False) -> None:
        """See Cgroup.delete."""
        deadline = directories.Deadline()
        for directory in self._directories():
            while not directories.remove_tree(directory):
                if kill:
                    self.kill(base.SIGKILL)
                    kill = False
                directories.wait_for_ends(files.processes(directory), deadline)
                # A group becomes empty a little after its last process has ended, and v1 sends no event for that.
                if not deadline.pause():
                    raise directories.busy(directory)

    def _directories(self) -> list[str]:
        return list(dict.fromkeys(self.paths.values()))

    def _main(self) -> str:
        for name in _LISTED_IN:
            if name in self.paths:
                return self.paths[name]
        return self._directories()[0]

    def _refuse_used(self, directory: str) -> None:
        if self.frozen():
            raise CgroupError(f"container's cgroup {self.path} is frozen; thaw it, or use another cgroupsPath")
        if files.processes(directory):
            raise CgroupError(f"container's cgroup {directory} is not empty; use another cgroupsPath")

    def _refuse_frozen_parent(self) -> None:
        """Raises CgroupError if a group above is frozen: a process that enters would stop. The root is never frozen."""
        if "freezer" not in self.paths or self.path.count("/") == 1:
            return
        path = f"{self.paths['freezer']}/freezer.parent_freezing"
        try:
            frozen = files.read(path).strip() == "1"
        except OSError as error:
            raise CgroupError(f"read {path}: {files.reason(error)}") from error
        if frozen:
            raise CgroupError(
                f"container's cgroup {self.path}: one above it is frozen; thaw that, or use another cgroupsPath"
            )

    def _release(self, freezer: str) -> None:
        """Lets killed processes end that a frozen group holds, below this group or above it. They are moved to the
        nearest group that is not frozen, and do not run there.
        """
        for place in [*files.deepest_first(freezer), freezer]:
            _try_write(f"{place}/freezer.state", "THAWED")
        if not self.unkillable():
            return
        mountpoint = freezer.removesuffix(self.path)
        place = os.path.dirname(freezer)
        while place != mountpoint and _state(place) != "THAWED":
            place = os.path.dirname(place)
        for pid in self.pids():
            _try_write(f"{place}/cgroup.procs", str(pid))

    def _write(self, writes: list[Write]) -> None:
        groups: dict[str, list[Write]] = {}
        for each in writes:
            group, file, value, _ = each
            unlimited_swap = file == "memory.memsw.limit_in_bytes" and value == "-1"
            if unlimited_swap and not os.path.exists(f"{self.paths[group]}/{file}"):
                continue  # the kernel was booted with swapaccount=0, and swap is unlimited anyway
            groups.setdefault(group, []).append(each)
        for group, part in groups.items():
            files.apply(self.paths[group], part)

    def _inherit_cpuset(self, given: set[str]) -> None:
        """Fills an empty cpuset. A new one has no CPUs and memory nodes, and takes no process (cpusets.rst). Each level
        copies them from above; the last one only what the container does not set.
        """
        leaf = self.paths["cpuset"]
        above = os.path.dirname(leaf)
        mountpoint = leaf.removesuffix(self.path)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if file in given:
                _fill(above, mountpoint, file)
            elif leaf in self._made:
                _write_file(f"{leaf}/{file}", _fill(above, mountpoint, file))
            else:
                _fill(leaf, mountpoint, file)

    def _write_devices(self, steps: list[tuple[str, str]]) -> None:
        opened: dict[str, int] = {}
        try:
            for file, line in steps:
                path = f"{self.paths['devices']}/{file}"
                try:
                    if file not in opened:
                        opened[file] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                    files.put(opened[file], path, line)
                except OSError as error:
                    raise files.failed(path, error, line, "/linux/resources/devices") from error
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def _freezer(self, verb: str) -> str:
        if "freezer" not in self.paths:
            raise CgroupError(f"{verb} cgroup {self.path}: the freezer controller is not mounted on this host")
        return self.paths["freezer"]

    def _freeze(self, seconds: float) -> bool:
        """Returns whether all processes are frozen within that time; true if the group is gone."""
        path = f"{self.paths['freezer']}/freezer.state"
        deadline = directories.Deadline(seconds)
        try:
            while True:
                # Written again each time, because processes forked meanwhile may be missed (freezer-subsystem.rst).
                files.write(path, "FROZEN")
                if files.read(path).strip() == "FROZEN":
                    return True
                if not deadline.pause():
                    return False
        except FileNotFoundError:
            return True
        except OSError as error:
            raise files.failed(path, error, "FROZEN") from error


def _state(freezer: str) -> str:
    """Returns THAWED, FREEZING or FROZEN, by the group itself or one above it; THAWED if it is gone."""
    try:
        return files.read(f"{freezer}/freezer.state").strip()
    except OSError:
        return "THAWED"


def _try_write(path: str, value: str) -> None:
    """Ignores errors about a group that is gone, or a process that is ending."""
    try:
        files.write(path, value)
    except OSError:
        pass


def _fill(place: str, mountpoint: str, file: str) -> str:
    """Returns the value of a cpuset's file, after filling an empty one from above. Raises CgroupError."""
    path = f"{place}/{file}"
    try:
        value = files.read(path).strip()
    except OSError as error:
        raise files.failed(path, error) from error
    if not value and place != mountpoint:
        value = _fill(os.path.dirname(place), mountpoint, file)
        _write_file(path, value)
    return value


def _write_file(path: str, value: str) -> None:
    try:
        files.write(path, value)
    except OSError as error:
        raise files.failed(path, error) from error
