# SPDX-License-Identifier: Apache-2.0
"""``mounts`` of config.json as operations (runtime-spec, config.md "Mounts"; mount_setattr(2), fsconfig(2))."""

from __future__ import annotations

import os

from pyoci import protocol
from pyoci.errors import SpecError
from pyoci.kernel.mounts import ATIME, ATTRIBUTES, IGNORED, ON_PROC, PROPAGATION, RDONLY, RECURSIVE
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.config import documents
    from pyoci.plan.facts import Facts

    # enum plan_mount_flag, attributes to set, to clear, propagation
    Attributes = tuple[int, int, int, int]


class Options:
    """The options of one mount, sorted by what they are for."""

    __slots__ = (
        "attr",
        "recursive_attr",
        "propagation",
        "propagation_recursive",
        "data",
        "bind",
        "copy_up",
        "recursive",
        "remount",
    )

    def __init__(self, options: Sequence[str], fs_type: str) -> None:
        self.attr = (0, 0)
        self.recursive_attr = (0, 0)
        self.propagation = 0
        self.propagation_recursive = False
        self.data: list[str] = []
        self.bind = fs_type in ("bind", "rbind")
        self.recursive = fs_type == "rbind"
        self.remount = False
        self.copy_up = False
        for option in options:
            self._take(option)

    def _take(self, option: str) -> None:
        if option in ATTRIBUTES:
            self.attr = _merged(self.attr, ATTRIBUTES[option])
        elif option in RECURSIVE:
            self.recursive_attr = _merged(self.recursive_attr, RECURSIVE[option])
        elif option in ("bind", "rbind"):
            self.bind, self.recursive = True, option == "rbind"
        elif option in PROPAGATION:
            self.propagation, self.propagation_recursive = PROPAGATION[option], False
        elif option[:1] == "r" and option[1:] in PROPAGATION:
            self.propagation, self.propagation_recursive = PROPAGATION[option[1:]], True
        elif option == "remount":
            self.remount = True
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option not in IGNORED and option:
            self.data.append(option)

    def flags(self) -> int:
        """enum plan_mount_flag for the propagation."""
        return protocol.PLAN_MOUNT_RECURSIVE_PROPAGATION if self.propagation_recursive else 0


def _merged(old: tuple[int, int], new: tuple[int, int]) -> tuple[int, int]:
    """Later options win, bit by bit."""
    set_, clear = new
    if set_ & ATIME or clear & ATIME:
        old = (old[0] & ~ATIME, old[1] & ~ATIME)
    return (old[0] & ~clear) | set_, (old[1] & ~set_) | clear


class Mounts:
    """The operations of all mounts: ``sources`` open the host's trees, ``steps`` mount, ``last`` come when nothing
    more is to be made in the root (a read-only tmpfs would refuse it)."""

    __slots__ = ("sources", "steps", "last", "_facts", "_apart", "_slot")

    def __init__(self, facts: Facts, sources_first: bool) -> None:
        self.sources: list[ops.Op] = []
        self.steps: list[ops.Op] = []
        self.last: list[ops.Op] = []
        self._facts = facts
        self._apart = sources_first
        self._slot = 0

    def add(self, mount: documents.Mount, where: str) -> None:
        """The operations of one entry of ``mounts``. Raises SpecError."""
        target = _target(mount["destination"])
        fs_type = mount.get("type") or ""
        options = Options(mount.get("options") or (), fs_type)
        if options.remount:
            self.steps.append(ops.MountSetattr(where, target, *_attributes(options, 0)))
        elif options.bind:
            self._bind(mount, target, options, where)
        elif fs_type in ("cgroup", "cgroup2"):
            self._cgroup(target, options, where)
        elif fs_type:
            self._file_system(mount, target, fs_type, options, where)
        else:
            raise SpecError(f"{where}/type", f"mount {target} has neither a type nor the option bind or rbind")

    def bind(
        self, source: str, target: str, recursive: bool, where: str, attributes: Attributes = (0, 0, 0, 0)
    ) -> None:
        """A bind mount. Raises SpecError."""
        slot = self.new_slot(where)
        opened = ops.OpenTree(where, source, slot, recursive, nofollow=False)
        (self.sources if self._apart else self.steps).append(opened)
        self.steps.append(ops.Bind(where, slot, target, *attributes))

    def new_slot(self, where: str) -> int:
        """A slot for a mount that is not attached yet. Raises SpecError."""
        if self._slot >= protocol.PLAN_SLOTS_MAX:
            raise SpecError(where, f"more than {protocol.PLAN_SLOTS_MAX} bind mounts")
        self._slot += 1
        return self._slot - 1

    def _bind(self, mount: documents.Mount, target: str, options: Options, where: str) -> None:
        source = mount.get("source")
        if not source:
            raise SpecError(f"{where}/source", f"bind mount {target} has no source")
        flags = options.flags()
        if target in ON_PROC:
            flags |= protocol.PLAN_MOUNT_ON_PROC
        elif os.path.normpath(target) == "/proc":
            flags |= protocol.PLAN_MOUNT_PROC_SOURCE | protocol.PLAN_MOUNT_NO_SYMLINKS
        source = self._facts.host_path(source)
        self.bind(source, target, options.recursive, where, _attributes(options, flags))
        self._recursive(target, options, where)

    def _recursive(self, target: str, options: Options, where: str) -> None:
        if options.recursive_attr != (0, 0):
            attributes = (protocol.PLAN_MOUNT_RECURSIVE_ATTR, *options.recursive_attr, 0)
            self.steps.append(ops.MountSetattr(where, target, *attributes))

    def _file_system(self, mount: documents.Mount, target: str, fs_type: str, options: Options, where: str) -> None:
        flags = options.flags()
        data = list(options.data)
        if fs_type in ("proc", "sysfs"):
            flags |= protocol.PLAN_MOUNT_NO_SYMLINKS
        if fs_type == "tmpfs":
            if not any(option.startswith("mode=") for option in data):
                flags |= protocol.PLAN_MOUNT_KEEP_MODE
            if options.copy_up:
                flags |= protocol.PLAN_MOUNT_COPY_UP
            self._late_readonly(target, options, where)
        source = mount.get("source") or fs_type
        data = [f"source={source}", *_split(data)]
        self.steps.append(ops.Mount(where, fs_type, target, data, *_attributes(options, flags)))
        self._recursive(target, options, where)

    def _late_readonly(self, target: str, options: Options, where: str) -> None:
        if options.attr[0] & RDONLY:
            options.attr = (options.attr[0] & ~RDONLY, options.attr[1])
            self.last.append(ops.MountSetattr(where, target, 0, RDONLY, 0, 0))

    def _cgroup(self, target: str, options: Options, where: str) -> None:
        """cgroup2 of its own with a cgroup namespace, else the container's directory of the host's; v1 the same
        for each hierarchy, on a tmpfs."""
        facts = self._facts
        attributes = _attributes(options, options.flags())
        if facts.cgroup_unified:
            if facts.cgroup_namespace:
                self.steps.append(ops.Mount(where, "cgroup2", target, ["source=cgroup2"], *attributes))
            else:
                self.bind(facts.cgroup_directories[0][1], target, True, where, attributes)
            return
        self._late_readonly(target, options, where)
        top = _attributes(options, 0)
        self.steps.append(ops.Mount(where, "tmpfs", target, ["source=tmpfs", "mode=755"], *top))
        for names, directory in facts.cgroup_directories:
            place = f"{target}/{','.join(name.removeprefix('name=') for name in names)}"
            if facts.cgroup_namespace:
                chosen = ["none", *names] if names[0].startswith("name=") else list(names)
                self.steps.append(ops.Mount(where, "cgroup", place, ["source=cgroup", *chosen], *attributes))
            else:
                self.bind(directory, place, True, where, (0, *attributes[1:]))
            if len(names) > 1:
                whole = ",".join(names)
                self.steps += [ops.Symlink(where, f"{target}/{name}", whole, 0) for name in names]


def _attributes(options: Options, flags: int) -> Attributes:
    return (flags, *options.attr, options.propagation)


def _split(data: list[str]) -> list[str]:
    """An option may hold several, with commas, as in mount(8)."""
    return [part for option in data for part in option.split(",") if part]


def _target(destination: str) -> str:
    """Absolute and without . and trailing slashes; a relative destination counts from the root (config.md)."""
    parts = [part for part in destination.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)
