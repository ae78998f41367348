# SPDX-License-Identifier: Apache-2.0
"""What the supervisor of a pod needs from the host: mounts, a control group for those of its containers, and the roles
of parent and subreaper.

Mounts are made in the mount namespace of this process. Nothing here is on the hot path.
"""

from __future__ import annotations

import errno
import os

from pyoci import cgroup, native
from pyoci.errors import PyociError, reason

PAUSE = os.path.join(native.LIBEXEC, "pause")
"""The program of a pod's sandbox, a static one."""

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8  # linux/mount.h
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_SIGKILL = 9


def tmpfs(target: str, mode: int, size: int | None = None, noexec: bool = False) -> None:
    """Mounts an empty tmpfs at ``target``. mode: of its root; size: in bytes, or None for half of the memory.

    Raises PyociError.
    """
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV | (_MS_NOEXEC if noexec else 0), options)


def overlay(target: str, lower: str, upper: str, work: str) -> None:
    """Mounts an overlay at ``target``. Changes go to ``upper``, so that the image, ``lower``, is never written to.

    Raises PyociError.
    """
    options = f"lowerdir={_escaped(lower, ':')},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    try:
        _mount("overlay", target, "overlay", 0, options)
    except PyociError as error:
        hint = "the kernel needs overlayfs, and --root a file system that can be its upper layer (not an overlay)"
        raise PyociError(f"{error} (image {lower}; {hint})") from error


def unmount(target: str) -> None:
    """Detaches the mount at ``target``, if there is one. A symlink is not followed.

    Raises PyociError.
    """
    try:
        native.umount(target, _MNT_DETACH | _UMOUNT_NOFOLLOW)
    except native.NativeError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # umount(2): no mount point, no file
            raise PyociError(f"unmount {target}: {reason(error)}") from error


def unmount_below(directory: str) -> None:
    """Detaches every mount below ``directory`` (a path without symlinks), innermost first. Raises PyociError."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = [_plain(line.split()[4]) for line in file]
    for point in reversed(points):
        if point.startswith(directory + "/"):
            unmount(point)


def unified_cgroups() -> bool:
    """Returns whether this host has only cgroup v2. Raises CgroupError."""
    return cgroup.host().unified


def remove_cgroup(path: str, manager: str) -> None:
    """Removes a control group that contained those of containers, if it exists. Raises CgroupError.

    path: from the root of the hierarchies; manager: that of the containers.
    """
    cgroup.manage(cgroup.host(), path, manager).delete()


def adopt_orphans() -> None:
    """Makes this process the subreaper of its descendants (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    native.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with(parent: int) -> None:
    """Lets the kernel kill this process when its parent ends (PR_SET_PDEATHSIG, prctl(2)). Exits if the parent, with
    the PID ``parent``, has already ended.
    """
    native.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    try:
        native.mount(source, target, kind, flags, options)
    except native.NativeError as error:
        raise PyociError(f"mount {kind} on {target}: {reason(error)}") from error


def _escaped(path: str, also: str = "") -> str:
    """Returns a path in the form of overlayfs' options."""
    return "".join("\\" + letter if letter in "\\," + also else letter for letter in path)


def _plain(field: bytes) -> str:
    """Decodes a path of mountinfo, where blanks and backslashes are octal escapes (proc(5))."""
    for escaped, letter in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(escaped, letter)
    return os.fsdecode(field)
