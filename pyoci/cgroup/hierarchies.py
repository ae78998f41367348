# SPDX-License-Identifier: Apache-2.0
"""Finds the control groups that this host has mounted."""

from __future__ import annotations

import os

from pyoci.cgroup import files
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ROOT = "/sys/fs/cgroup"
UNIFIED = "unified"  # the name of cgroup2 among the paths of a group

# Options of a cgroup mount that are not controllers (cgroups(7), mount(8)).
_FLAGS = frozenset(("rw", "ro", "none", "all", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"))


class Mount:
    """A mounted hierarchy.

    names: its controllers, or ``name=systemd`` for a named one, or ``unified`` for cgroup2;
    mountpoint: its path; root: which of its directories is mounted there (``/``, except in a container); unified: True
    for cgroup2.
    """

    __slots__ = ("mountpoint", "names", "root", "unified")

    def __init__(self, names: tuple[str, ...], mountpoint: str, root: str, unified: bool) -> None:
        self.names = names
        self.mountpoint = mountpoint
        self.root = root
        self.unified = unified


class Host:
    """The control groups of this host.

    unified: whether there is only cgroup2, mounted at /sys/fs/cgroup; mounts: one mount of every hierarchy;
    controllers: v1 controller or named hierarchy → its mount; available: the controllers of a unified host.
    """

    __slots__ = ("available", "controllers", "mounts", "unified")

    def __init__(self, unified: bool, mounts: list[Mount], available: Collection[str] = ()) -> None:
        self.unified = unified
        self.mounts = mounts
        self.controllers = {name: mount for mount in mounts if not mount.unified for name in mount.names}
        self.available = available

    def unified_mount(self) -> Mount | None:
        """Returns the cgroup2 hierarchy, which a unified host and a hybrid host have."""
        return next((mount for mount in self.mounts if mount.unified), None)


def host() -> Host:
    """Reads the facts: from one file on a v2 host, and from mountinfo too on a v1 host. Raises CgroupError."""
    try:
        # Only cgroup2 has this file.
        available = files.read(f"{ROOT}/cgroup.controllers").split()
        return Host(True, [Mount((UNIFIED,), ROOT, "/", True)], available)
    except FileNotFoundError:
        pass
    except OSError as error:
        hint = files.hint(error)
        raise CgroupError(f"read {ROOT}/cgroup.controllers: {files.reason(error)}{hint}") from error
    try:
        return Host(False, parse_mounts(files.read("/proc/self/mountinfo").splitlines()))
    except OSError as error:
        raise CgroupError(f"read /proc/self/mountinfo: {files.reason(error)}") from error


def page_sizes() -> list[str]:
    """Returns the sizes of the kernel's huge pages, in the form of its hugetlb controller: 2MB, 1GB."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    return [_size(int(name[len("hugepages-") : -len("kB")])) for name in names]


def _size(kilobytes: int) -> str:
    """Returns a size in the form of mem_fmt() in mm/hugetlb_cgroup.c."""
    for unit, size in (("GB", 1 << 20), ("MB", 1 << 10)):
        if kilobytes >= size:
            return f"{kilobytes // size}{unit}"
    return f"{kilobytes}KB"


def parse_mounts(lines: Iterable[str]) -> list[Mount]:
    """Returns the cgroup mounts in the lines of a mountinfo file (proc(5)).

    Only mounts below /sys/fs/cgroup count, because others may be in the root file system of a container. If a hierarchy
    is mounted more than once, the first mount counts; one of another directory than the root (``/``) only if there is
    no other. The cgroup2 mount of a hybrid host is included, but is not a controller.
    """
    found: dict[tuple[str, ...], Mount] = {}
    for line in lines:
        if " - cgroup" not in line:  # true of most lines; the others are checked below
            continue
        fields, _, tail = line.partition(" - ")
        kind, _, rest = tail.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        _, _, _, root, mountpoint, *_ = fields.split(" ")
        if not mountpoint.startswith(f"{ROOT}/"):
            continue
        names = (UNIFIED,) if kind == "cgroup2" else _names(rest.rpartition(" ")[2])
        mount = Mount(names, _unescaped(mountpoint), _unescaped(root), kind == "cgroup2")
        before = found.get(names)
        if before is None or (before.root != "/" and mount.root == "/"):
            found[names] = mount
    return list(found.values())


def _names(options: str) -> tuple[str, ...]:
    words = [word for word in options.split(",") if word not in _FLAGS]
    return tuple(word for word in words if "=" not in word or word.startswith("name="))


def _unescaped(path: str) -> str:
    r"""Decodes \040, \011, \012 and \134, by which mountinfo writes space, tab, newline and backslash."""
    if "\\" not in path:
        return path
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(octal, plain)
    return path
