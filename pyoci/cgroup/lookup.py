# SPDX-License-Identifier: Apache-2.0
"""Finds the object that manages a control group, from its path or from a saved state."""

from __future__ import annotations

from pyoci.cgroup.base import Cgroup, Disabled
from pyoci.cgroup.hierarchies import UNIFIED
from pyoci.errors import CgroupError, SpecError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyoci.cgroup.hierarchies import Host

_POINTER = "/linux/cgroupsPath"


def resolve(cgroups_path: str | None, container_id: str) -> str:
    """Returns the path of a container's cgroup, from the root of every hierarchy (runtime-spec, "Cgroups Path").

    An absolute or relative path starts at the root of the hierarchy. The default is ``/`` and the container's ID.
    ``slice:prefix:name`` has a meaning only for the systemd manager; here it is a plain name. Raises SpecError for a
    path with ``..`` or control characters, and for the root itself.
    """
    path = cgroups_path or container_id
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SpecError(_POINTER, "may not hold ..", path, "give a path below the root of the hierarchy")
    if not parts:
        raise SpecError(_POINTER, "is the root of the hierarchy", path, "give a path below it")
    if not path.isprintable():
        raise SpecError(_POINTER, "holds a control character", path)
    return "/" + "/".join(parts)


def manage(host: Host, path: str, manager: str) -> Cgroup:
    """Returns the cgroup at ``path`` (from resolve()) on this host. It does not exist yet.

    manager: ``cgroupfs``, or ``disabled`` for no cgroup. Raises UnsupportedError for ``systemd``, and CgroupError on a
    host without any hierarchy.
    """
    if manager == "disabled":
        return Disabled()
    if manager == "systemd":
        raise UnsupportedError(
            "systemd",
            "this cgroup manager is not supported yet",
            hint="use cgroupfs or disabled",
            document="--cgroup-manager",
        )
    if manager != "cgroupfs":
        raise CgroupError(f"cgroup manager {manager}: unknown; use cgroupfs or disabled")
    unified = host.unified_mount()
    if unified is not None and host.unified:
        from pyoci.cgroup.v2 import V2

        return V2(path, unified.mountpoint + path, host.available)
    if not host.controllers:
        raise CgroupError(
            f"cgroup {path}: this host has no cgroup hierarchy mounted at /sys/fs/cgroup; mount one, or use the cgroup "
            "manager disabled"
        )
    paths = {name: mount.mountpoint + path for name, mount in host.controllers.items()}
    if unified is not None:
        paths[UNIFIED] = unified.mountpoint + path
    return _v1(path, paths)


def from_state(data: Mapping[str, object]) -> Cgroup:
    """Returns the cgroup that state() described, perhaps in an earlier process.

    Raises CgroupError for anything else.
    """
    manager, path, paths = data.get("manager"), data.get("path"), data.get("paths")
    if manager == "disabled":
        return Disabled()
    if manager != "cgroupfs" or not isinstance(path, str) or not isinstance(paths, dict) or not paths:
        raise CgroupError("cgroup in the saved state: malformed")
    good = path[:1] == "/" != path
    for directory in paths.values():
        # delete() removes these directories, so a damaged state must not name others: each ends with the path.
        good = good and type(directory) is str and directory[:1] == "/" and directory.endswith(path)
        if not good or (".." in directory and ".." in directory.split("/")):
            raise CgroupError("cgroup in the saved state: malformed")
    if list(paths) == [UNIFIED]:
        from pyoci.cgroup.v2 import V2

        return V2(path, paths[UNIFIED])
    return _v1(path, paths)


def _v1(path: str, paths: dict[str, str]) -> Cgroup:
    from pyoci.cgroup.v1 import V1

    return V1(path, paths)
