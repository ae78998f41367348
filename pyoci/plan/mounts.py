# SPDX-License-Identifier: Apache-2.0
"""Turns ``mounts`` into operations (runtime-spec, config.md "Mounts"; mount_setattr(2), fsconfig(2))."""

from __future__ import annotations

import os

from pyoci import protocol
from pyoci.config.mounts import BIND, CGROUP, REMOUNT
from pyoci.errors import SpecError
from pyoci.kernel.devices import S_IFBLK
from pyoci.kernel.mounts import NODEV, NOEXEC, NOSUID, ON_PROC, RDONLY
from pyoci.kernel.namespaces import NEWCGROUP, NEWNET, NEWUSER
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.mounts import MountConfig
    from pyoci.config.normal import ContainerConfig, DeviceNode, Namespaces
    from pyoci.plan.facts import Facts

    # enum plan_mount_flag, attributes to set, to clear, propagation
    Attributes = tuple[int, int, int, int]

COPY_MAX = 1 << 30  # bytes that tmpcopyup copies into memory at most, with 4 KiB for each entry


class Mounts:
    """The operations of all mounts. sources: open trees of the host before the user namespace; steps: mount; last: come
    when nothing more is created in the root (a read-only tmpfs would refuse it)."""

    __slots__ = ("sources", "steps", "last", "_apart", "_facts", "_host_sys", "_own_cgroup", "_roots", "_slot")

    def __init__(self, config: ContainerConfig, facts: Facts) -> None:
        self.sources: list[ops.Op] = []
        self.steps: list[ops.Op] = []
        self.last: list[ops.Op] = []
        self._facts = facts
        self._roots = [_parts(path) for path in (facts.rootfs, facts.host_path(config.root))]
        self._apart = config.namespaces.private(NEWUSER)
        self._host_sys = self._apart and not _owns_network(config.namespaces)
        self._own_cgroup = config.namespaces.private(NEWCGROUP)
        self._slot = 0
        for mount in config.mounts:
            self._add(mount)

    def bind(
        self, source: str, target: str, recursive: bool, where: str, attributes: Attributes = (0, 0, 0, 0)
    ) -> None:
        """Adds a bind mount. Raises SpecError."""
        slot = self.new_slot(where)
        inside = self._inside(source)
        if inside:
            self.steps.append(ops.OpenTree(where, inside, slot, recursive, inside=True))
        else:
            opened = ops.OpenTree(where, source, slot, recursive, inside=False)
            (self.sources if self._apart else self.steps).append(opened)
        self.steps.append(ops.Bind(where, slot, target, *attributes))

    def _inside(self, source: str) -> str:
        """Returns the path inside the root of a source that is in it, or "". An earlier mount may create the source, so
        it is opened in its turn, and it is resolved in the root, so that no symlink of the image leads out."""
        parts = _parts(source)
        for root in self._roots:
            if root and parts[: len(root)] == root and ".." not in parts:
                return "/" + "/".join(parts[len(root) :])
        return ""

    def bind_node(self, node: DeviceNode) -> None:
        """Adds a bind mount of a device of the host, by its path or number, instead of a node. Raises SpecError."""
        slot = self.new_slot(node.where)
        by_number = f"/dev/{'block' if node.kind == S_IFBLK else 'char'}/{node.major}:{node.minor}"
        device = os.makedev(node.major, node.minor)
        opened = ops.OpenNode(node.where, node.path, by_number, slot, node.kind, device)
        (self.sources if self._apart else self.steps).append(opened)
        self.steps.append(ops.Bind(node.where, slot, node.path, 0, NOSUID | NOEXEC, 0, 0))

    def new_slot(self, where: str) -> int:
        """Returns a slot for a mount that is not attached yet. Raises SpecError."""
        if self._slot >= protocol.PLAN_SLOTS_MAX:
            raise SpecError(where, f"more than {protocol.PLAN_SLOTS_MAX} bind mounts")
        self._slot += 1
        return self._slot - 1

    def _add(self, mount: MountConfig) -> None:
        if mount.kind == REMOUNT:
            self.steps.append(ops.MountSetattr(mount.where, mount.target, *_attributes(mount)))
        elif mount.kind == BIND:
            self._bind(mount)
        elif mount.kind == CGROUP:
            self._cgroup(mount)
        else:
            self._file_system(mount)

    def _bind(self, mount: MountConfig) -> None:
        target = mount.target
        flags = _flags(mount)
        if target in ON_PROC:
            flags |= protocol.PLAN_MOUNT_ON_PROC
        elif target == "/proc":
            flags |= protocol.PLAN_MOUNT_PROC_SOURCE | protocol.PLAN_MOUNT_NO_SYMLINKS
        source = self._facts.host_path(mount.source)
        self.bind(source, target, mount.recursive, mount.where, _attributes(mount, flags))
        self._recursive(mount)

    def _recursive(self, mount: MountConfig) -> None:
        if mount.recursive_attr != (0, 0):
            attributes = (protocol.PLAN_MOUNT_RECURSIVE_ATTR, *mount.recursive_attr, 0)
            self.steps.append(ops.MountSetattr(mount.where, mount.target, *attributes))

    def _file_system(self, mount: MountConfig) -> None:
        fs_type = mount.fs_type
        flags = _flags(mount)
        late = 0
        if fs_type in ("proc", "sysfs"):
            flags |= protocol.PLAN_MOUNT_NO_SYMLINKS
        if fs_type == "sysfs" and self._host_sys:
            # Read-only with everything below it, which includes the host's cgroups.
            attr = mount.attr[0] & (NOSUID | NODEV | NOEXEC) | RDONLY
            flags |= protocol.PLAN_MOUNT_RECURSIVE_ATTR
            self.bind("/sys", mount.target, True, mount.where, (flags, attr, 0, mount.propagation))
            return
        if fs_type == "tmpfs":
            if not any(option.startswith("mode=") for option in mount.data):
                flags |= protocol.PLAN_MOUNT_KEEP_MODE
            late = self._late_readonly(mount)
        data = [f"source={mount.source or fs_type}", *mount.data]
        attributes = _attributes(mount, flags, late)
        most = COPY_MAX if mount.copy_up and fs_type == "tmpfs" else 0
        self.steps.append(ops.Mount(mount.where, fs_type, mount.target, data, *attributes, copy_up=most))
        self._recursive(mount)

    def _late_readonly(self, mount: MountConfig) -> int:
        """Returns RDONLY if it is wanted, and adds the operation that sets it at the end."""
        late = mount.attr[0] & RDONLY
        if late:
            self.last.append(ops.MountSetattr(mount.where, mount.target, 0, RDONLY, 0, 0))
        return late

    def _cgroup(self, mount: MountConfig) -> None:
        """Adds a cgroup2 mount in a cgroup namespace, or else a bind of the container's directory. v1: the same for
        each hierarchy, on a tmpfs."""
        facts, where, target = self._facts, mount.where, mount.target
        attributes = _attributes(mount, _flags(mount))
        if self._apart and not self._own_cgroup:  # the container's root may be the host's to them (CVE-2023-25809)
            flags, attr, clear, propagation = attributes
            attributes = (flags, attr | RDONLY, clear & ~RDONLY, propagation)
        if facts.cgroup_unified:
            if self._own_cgroup:
                self.steps.append(ops.Mount(where, "cgroup2", target, ["source=cgroup2"], *attributes, copy_up=0))
            else:
                self.bind(facts.cgroup_directories[0][1], target, True, where, attributes)
            return
        top = _attributes(mount, 0, self._late_readonly(mount))
        self.steps.append(ops.Mount(where, "tmpfs", target, ["source=tmpfs", "mode=755"], *top, copy_up=0))
        for names, directory in facts.cgroup_directories:
            place = f"{target}/{','.join(name.removeprefix('name=') for name in names)}"
            if self._own_cgroup:
                chosen = ["none", *names] if names[0].startswith("name=") else list(names)
                self.steps.append(ops.Mount(where, "cgroup", place, ["source=cgroup", *chosen], *attributes, copy_up=0))
            else:
                self.bind(directory, place, True, where, (0, *attributes[1:]))
            if len(names) > 1:
                whole = ",".join(names)
                self.steps += [ops.Symlink(where, f"{target}/{name}", whole, 0) for name in names]


def _owns_network(namespaces: Namespaces) -> bool:
    """Returns whether the user namespace owns the network namespace; else sysfs is refused (sysfs_init_fs_context)."""
    return bool(namespaces.new & NEWNET) or (namespaces.joins(NEWNET) and namespaces.joins(NEWUSER))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _flags(mount: MountConfig) -> int:
    """Returns the enum plan_mount_flag for the propagation."""
    return protocol.PLAN_MOUNT_RECURSIVE_PROPAGATION if mount.propagation_recursive else 0


def _attributes(mount: MountConfig, flags: int = 0, without: int = 0) -> Attributes:
    """Returns the attributes of a mount. without: attributes that are set later."""
    to_set, to_clear = mount.attr
    return (flags, to_set & ~without, to_clear, mount.propagation)
