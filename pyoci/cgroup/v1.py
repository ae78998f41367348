# SPDX-License-Identifier: Apache-2.0
"""Control groups version 1: one directory in each mounted hierarchy (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os

from pyoci.cgroup import base, devices, files, resources
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.files import Setting
    from pyoci.config.documents import Resources

# Where the processes are listed: first the hierarchies that a container is least likely to be given write access to.
_LISTED_IN = ("freezer", "devices", "pids", "memory", "name=systemd")
_FREEZE_BEFORE_KILL = 2.0  # seconds; a process in an uninterruptible wait keeps a v1 group from freezing
_KILL_ROUNDS = 50


class V1(base.Cgroup):
    """One control group in several hierarchies."""

    __slots__ = ()

    def create(self, resources: Resources) -> list[Setting]:
        """See Cgroup.create. The device rules are not written in one step: in between, some would be refused that are
        allowed before and after. So nobody may be in the group by then.
        """
        settings = self._settings(resources)
        steps = self._device_steps(resources, fresh=True)
        cpuset = [setting for setting in settings if setting[0] == "cpuset"]
        self._made = []
        try:
            for directory in self._directories():
                if not base.make_directory(directory, directory.removesuffix(self.path), self._made):
                    self._refuse_used(directory)
            if "cpuset" in self.paths:
                self._inherit_cpuset({file for _, file, _, _ in cpuset})
            self._write(cpuset)
            self._write_devices(steps)
        except BaseException:
            base.remove_directories(self._made)
            raise
        return [setting for setting in settings if setting[0] != "cpuset"]

    def limit(self, settings: list[Setting]) -> None:
        """See Cgroup.limit."""
        self._write(settings)

    def update(self, resources: Resources) -> None:
        """See Cgroup.update."""
        settings = self._settings(resources)
        steps = self._device_steps(resources, fresh=False)
        self._write(settings)
        self._write_devices(steps)

    def add(self, pid: int) -> None:
        """See Cgroup.add."""
        for directory in self._directories():
            path = f"{directory}/cgroup.procs"
            try:
                files.write(path, str(pid))
            except OSError as error:
                raise files.failed(path, error, str(pid)) from None

    def entries(self) -> list[int]:
        """See Cgroup.entries."""
        opened: list[int] = []
        for directory in self._directories():
            path = f"{directory}/tasks"
            try:
                opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for descriptor in opened:
                    os.close(descriptor)
                raise files.failed(path, error) from None
        return opened

    def pids(self) -> list[int]:
        """See Cgroup.pids."""
        return files.processes(self._main())

    def kill(self, signum: int) -> int:
        """See Cgroup.kill. For SIGKILL the group is frozen, so that nobody forks away from the list, and thawed."""
        if signum != base.SIGKILL:
            return self._signal_each(signum)
        reached = 0
        for _ in range(_KILL_ROUNDS):
            stands = "freezer" in self.paths and self._freeze(_FREEZE_BEFORE_KILL)
            try:
                now = self._signal_each(signum)
            finally:
                if "freezer" in self.paths:
                    self.thaw()
            reached += now
            if stands or not now:
                break
        return reached

    def freeze(self) -> None:
        """See Cgroup.freeze."""
        directory = self._freezer("freeze")
        if not os.path.exists(directory):
            raise CgroupError(f"freeze cgroup {directory}: it is gone")
        if not self._freeze(base.WAIT_SECONDS):
            self.thaw()
            raise CgroupError(f"freeze cgroup {directory}: not all processes stand after {base.WAIT_SECONDS:.0f} s")

    def thaw(self) -> None:
        """See Cgroup.thaw."""
        path = f"{self._freezer('thaw')}/freezer.state"
        try:
            files.write(path, "THAWED")
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.failed(path, error, "THAWED") from None

    def frozen(self) -> bool:
        """See Cgroup.frozen."""
        if "freezer" not in self.paths:
            return False
        try:
            # Not freezer.state, which also tells of a frozen group above.
            return files.read(f"{self.paths['freezer']}/freezer.self_freezing").strip() == "1"
        except OSError:
            return False

    def oom_kills(self) -> int:
        """See Cgroup.oom_kills; ``oom_kill`` of memory.oom_control (cgroup-v1/memory.rst, Linux 4.13)."""
        return files.counter(f"{self.paths['memory']}/memory.oom_control", "oom_kill") if "memory" in self.paths else 0

    def delete(self, kill: bool = False) -> None:
        """See Cgroup.delete."""
        deadline = base.Deadline()
        for directory in self._directories():
            while not base.remove_tree(directory):
                if kill:
                    self.kill(base.SIGKILL)
                    kill = False
                base.wait_for_ends(files.processes(directory), deadline)
                # The last process has ended a little before its group is empty, and v1 sends no event for that.
                if not deadline.pause():
                    raise base.busy(directory)

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

    def _settings(self, wanted: Resources) -> list[Setting]:
        settings = resources.settings_v1(wanted)
        for group, _, _, pointer in settings:
            if group not in self.paths:
                raise CgroupError(f"{pointer}: the {group} controller is not mounted on this host")
        return settings

    def _write(self, settings: list[Setting]) -> None:
        groups: dict[str, list[Setting]] = {}
        for setting in settings:
            group, file, value, _ = setting
            unlimited_swap = file == "memory.memsw.limit_in_bytes" and value == "-1"
            if unlimited_swap and not os.path.exists(f"{self.paths[group]}/{file}"):
                continue  # the kernel was booted with swapaccount=0: swap is unlimited anyway
            groups.setdefault(group, []).append(setting)
        for group, part in groups.items():
            files.apply(self.paths[group], part)

    def _inherit_cpuset(self, given: set[str]) -> None:
        """A new cpuset has no CPU and no memory node, and takes no process until it has (cpusets.rst): what is
        empty is copied from above, at each level that is; at the last one only what the container leaves open.
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

    def _device_steps(self, wanted: Resources, fresh: bool) -> list[tuple[str, str]]:
        listed = wanted.get("devices")
        if not listed:
            return []
        if "devices" not in self.paths:
            raise CgroupError("/linux/resources/devices: the devices controller is not mounted on this host")
        after = devices.exceptions(devices.rules(listed))
        # A new group has what the one above it has; writing the first line sets all of it.
        before = devices.Exceptions(True)
        if not fresh:
            path = f"{self.paths['devices']}/devices.list"
            try:
                before = devices.parse_list(files.read(path))
            except OSError as error:
                raise CgroupError(f"read {path}: {files.reason(error)}") from None
        return devices.transition(before, after)

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
                    raise files.failed(path, error, line, "/linux/resources/devices") from None
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def _freezer(self, verb: str) -> str:
        if "freezer" not in self.paths:
            raise CgroupError(f"{verb} cgroup {self.path}: the freezer controller is not mounted on this host")
        return self.paths["freezer"]

    def _freeze(self, seconds: float) -> bool:
        """Whether all processes stand within that time. A group that is gone does."""
        path = f"{self.paths['freezer']}/freezer.state"
        deadline = base.Deadline(seconds)
        try:
            while True:
                # Written again each time: who was forked meanwhile may have been missed (freezer-subsystem.rst).
                files.write(path, "FROZEN")
                if files.read(path).strip() == "FROZEN":
                    return True
                if not deadline.pause():
                    return False
        except FileNotFoundError:
            return True
        except OSError as error:
            raise files.failed(path, error, "FROZEN") from None


def _fill(place: str, mountpoint: str, file: str) -> str:
    """What a cpuset's file says; an empty one is filled from above first. Raises CgroupError."""
    path = f"{place}/{file}"
    try:
        value = files.read(path).strip()
    except OSError as error:
        raise files.failed(path, error) from None
    if not value and place != mountpoint:
        value = _fill(os.path.dirname(place), mountpoint, file)
        _write_file(path, value)
    return value


def _write_file(path: str, value: str) -> None:
    try:
        files.write(path, value)
    except OSError as error:
        raise files.failed(path, error) from None
