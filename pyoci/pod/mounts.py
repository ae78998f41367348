# SPDX-License-Identifier: Apache-2.0
"""Mounts that a pod's supervisor makes on the host, all of them below the pod's directory."""

from __future__ import annotations

import os

from pyoci import native
from pyoci.errors import PodError

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8  # linux/mount.h
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8


def tmpfs(target: str, mode: int, size: int | None = None, noexec: bool = False) -> None:
    """An empty tmpfs at ``target``. mode: of its root; size: bytes, None for half of the memory."""
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV | (_MS_NOEXEC if noexec else 0), options)


def overlay(target: str, lower: str, upper: str, work: str) -> None:
    """A view of ``lower`` at ``target`` whose changes go to ``upper``, so that the image is never written to."""
    options = f"lowerdir={_escaped(lower, ':')},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    try:
        _mount("overlay", target, "overlay", 0, options)
    except PodError as error:
        hint = "the kernel needs overlayfs, and --root a file system that can be its upper layer (not an overlay)"
        raise PodError(f"{error} (image {lower}; {hint})") from None


def unmount(target: str) -> None:
    """Detaches what is mounted at ``target``; nothing there is fine."""
    try:
        native.umount(target, _MNT_DETACH | _UMOUNT_NOFOLLOW)
    except native.NativeError as error:
        if os.path.ismount(target):
            raise PodError(f"unmount {target}: {os.strerror(error.errno or 0)}") from None


def unmount_below(directory: str) -> None:
    """Detaches every mount below ``directory``, the innermost first."""
    prefix = os.path.realpath(directory) + "/"
    with open("/proc/self/mountinfo", "rb") as file:
        points = [_plain(line.split()[4]) for line in file]
    for point in reversed(points):
        if point.startswith(prefix):
            unmount(point)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    try:
        native.mount(source, target, kind, flags, options)
    except native.NativeError as error:
        raise PodError(f"mount {kind} on {target}: {os.strerror(error.errno or 0)}") from None


def _escaped(path: str, also: str = "") -> str:
    """A path as overlayfs reads it in its options."""
    return "".join("\\" + letter if letter in "\\," + also else letter for letter in path)


def _plain(field: bytes) -> str:
    """A path of mountinfo, where blanks and backslashes are octal escapes (proc(5))."""
    for escaped, letter in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(escaped, letter)
    return os.fsdecode(field)
