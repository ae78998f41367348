# SPDX-License-Identifier: Apache-2.0
"""Control groups version 2: one directory (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno
import os
import select

from pyoci.cgroup import base, files, resources
from pyoci.cgroup.hierarchies import UNIFIED
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.files import Setting
    from pyoci.config.documents import Memory, Resources

# Without a limit these still count, and engines read the counts from the container's group.
_FOR_STATISTICS = ("cpu", "io", "memory", "pids")


class V2(base.Cgroup):
    """One control group of the unified hierarchy."""

    __slots__ = ("directory",)

    def __init__(self, path: str, directory: str) -> None:
        super().__init__(path, {UNIFIED: directory})
        self.directory = directory

    def create(self, resources: Resources) -> list[Setting]:
        """See Cgroup.create. The group's own files (``cgroup.*``) cannot wait: some of them say who may enter."""
        settings = self._settings(resources)
        filter_code = _filter(resources)
        mounted = self.directory.removesuffix(self.path)
        self._made = []
        try:
            if not base.make_directory(self.directory, mounted, self._made):
                self._refuse_used()
            self._enable(mounted, {group: pointer for group, _, _, pointer in settings if group != "cgroup"})
            self._write([setting for setting in settings if setting[0] == "cgroup"])
            self._write_devices(resources, filter_code, fresh=True)
        except BaseException:
            base.remove_directories(self._made)
            raise
        return [setting for setting in settings if setting[0] != "cgroup"]

    def limit(self, settings: list[Setting]) -> None:
        """See Cgroup.limit."""
        self._write(settings)

    def update(self, resources: Resources) -> None:
        """See Cgroup.update."""
        self._check_before_update(resources.get("memory") or {})
        settings = self._settings(resources)
        filter_code = _filter(resources)
        self._write(settings)
        self._write_devices(resources, filter_code, fresh=False)

    def add(self, pid: int) -> None:
        """See Cgroup.add."""
        path = f"{self.directory}/cgroup.procs"
        try:
            files.write(path, str(pid))
        except OSError as error:
            raise files.failed(path, error, str(pid)) from None

    def descriptor(self) -> int:
        """See Cgroup.descriptor."""
        try:
            return os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CgroupError(f"open cgroup {self.directory}: {files.reason(error)}") from None

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
            raise files.failed(path, error, "1") from None
        return reached

    def freeze(self) -> None:
        """See Cgroup.freeze."""
        self._set_frozen("1")
        if not self._wait("frozen 1", base.Deadline()):
            self._set_frozen("0")
            raise CgroupError(
                f"freeze cgroup {self.directory}: not all processes stand after {base.WAIT_SECONDS:.0f} s"
            )

    def thaw(self) -> None:
        """See Cgroup.thaw."""
        try:
            files.write(f"{self.directory}/cgroup.freeze", "0")
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.failed(f"{self.directory}/cgroup.freeze", error, "0") from None

    def frozen(self) -> bool:
        """See Cgroup.frozen."""
        try:
            return files.read(f"{self.directory}/cgroup.freeze").strip() == "1"
        except OSError:
            return False

    def oom_kills(self) -> int:
        """See Cgroup.oom_kills; ``oom_kill`` of memory.events, which counts the groups below too (cgroup-v2.rst)."""
        return files.counter(f"{self.directory}/memory.events", "oom_kill")

    def delete(self, kill: bool = False) -> None:
        """See Cgroup.delete."""
        deadline = base.Deadline()
        while not base.remove_tree(self.directory):
            if kill:
                self.kill(base.SIGKILL)
                kill = False
            self._wait("populated 0", deadline)
            # An empty group may be busy for a moment more, and there is no event for the end of that.
            if not deadline.pause():
                raise base.busy(self.directory)

    def _settings(self, wanted: Resources) -> list[Setting]:
        quota = "max"
        cpu = wanted.get("cpu") or {}
        if cpu.get("period") and not cpu.get("quota"):
            try:
                quota = files.read(f"{self.directory}/cpu.max").split()[0]
            except OSError:
                pass  # a group that is still to be made
        return resources.settings_v2(wanted, quota)

    def _refuse_used(self) -> None:
        if self.frozen():
            raise CgroupError(f"container's cgroup {self.directory} is frozen; thaw it, or use another cgroupsPath")
        if self.pids():
            raise CgroupError(f"container's cgroup {self.directory} is not empty; use another cgroupsPath")

    def _enable(self, mounted: str, needed: dict[str, str]) -> None:
        """Hands the controllers down from the root to the group above the container's.

        needed: controller → the property that needs it. Those, and the ones that count, as far as they are there.
        """
        place = mounted
        available = self._available(place)
        for group, pointer in needed.items():
            if group not in available:
                raise CgroupError(f"{pointer}: the {group} controller is not available in cgroup v2 on this host")
        wanted = [group for group in dict.fromkeys([*_FOR_STATISTICS, *needed]) if group in available]
        for part in self.path.split("/")[1:]:
            path = f"{place}/cgroup.subtree_control"
            enabled = _words(path)
            self._enable_at(path, [group for group in wanted if group not in enabled], needed)
            place = f"{place}/{part}"

    @staticmethod
    def _enable_at(path: str, missing: list[str], needed: dict[str, str]) -> None:
        if not missing:
            return
        try:
            files.write(path, " ".join(f"+{group}" for group in missing))
            return
        except OSError:
            pass  # one of them is refused: which one, and does it matter?
        for group in missing:
            try:
                files.write(path, f"+{group}")
            except OSError as error:
                if group in needed:
                    hint = "; a group with processes of its own cannot hand controllers down"
                    why = files.reason(error) + (hint if error.errno == errno.EBUSY else "")
                    raise CgroupError(f"write {path}: +{group}: {why} (needed by {needed[group]})") from None

    @staticmethod
    def _available(place: str) -> set[str]:
        return _words(f"{place}/cgroup.controllers")

    def _write(self, settings: list[Setting]) -> None:
        if not settings:
            return
        available = self._available(self.directory)
        groups: dict[str, list[Setting]] = {}
        for setting in settings:
            group, file, value, pointer = setting
            if group != "cgroup" and group not in available:
                raise CgroupError(f"{pointer}: the {group} controller is not available in {self.directory}")
            # Without swap support there is no such file, and neither no swap nor all of it needs saying.
            if file == "memory.swap.max" and value in ("0", "max") and not os.path.exists(f"{self.directory}/{file}"):
                continue
            groups.setdefault(group, []).append(setting)
        for part in groups.values():
            files.apply(self.directory, part)

    def _check_before_update(self, memory: Memory) -> None:
        """v2 would answer a limit below the usage with the OOM killer, v1 with EBUSY; checkBeforeUpdate wants that."""
        limit = memory.get("limit") or -1
        if not memory.get("checkBeforeUpdate") or limit < 0:
            return
        try:
            usage = int(files.read(f"{self.directory}/memory.current"))
        except OSError as error:
            raise CgroupError(f"read {self.directory}/memory.current: {files.reason(error)}") from None
        if usage > limit:
            raise CgroupError(f"/linux/resources/memory/limit: {limit} is less than the {usage} in use")

    def _write_devices(self, wanted: Resources, code: bytes, fresh: bool) -> None:
        if not wanted.get("devices") or (fresh and not code):
            return
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
            raise files.failed(path, error, value) from None

    def _wait(self, line: str, deadline: base.Deadline) -> bool:
        """Waits until cgroup.events has that line, or the group is gone. False at the deadline."""
        try:
            events = os.open(f"{self.directory}/cgroup.events", os.O_RDONLY)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise CgroupError(f"open {self.directory}/cgroup.events: {files.reason(error)}") from None
        try:
            poller = select.poll()
            poller.register(events, select.POLLPRI)
            # The file is polled for changes since the last read (cgroup-v2.rst). The kernel holds an event back for
            # 10 ms if there was one just before (cgroup_file_notify), so the first looks do not wait for it.
            step = 1.0
            while True:
                if line in os.pread(events, 4096, 0).decode().splitlines():
                    return True
                left = deadline.left()
                if not left:
                    return False
                poller.poll(min(step, left * 1000))
                step *= 2
        except OSError as error:
            if error.errno == errno.ENODEV:
                return True
            raise CgroupError(f"read {self.directory}/cgroup.events: {files.reason(error)}") from None
        finally:
            os.close(events)


def _filter(wanted: Resources) -> bytes:
    """The device program for the resources; empty where all devices are allowed, or none are spoken of."""
    if not wanted.get("devices"):
        return b""
    from pyoci.cgroup import device_filter, devices

    ordered = devices.rules(wanted["devices"])
    return b"" if device_filter.allows_all(ordered) else device_filter.program(ordered)


def _words(path: str) -> set[str]:
    try:
        return set(files.read(path).split())
    except OSError as error:
        raise CgroupError(f"read {path}: {files.reason(error)}") from None
