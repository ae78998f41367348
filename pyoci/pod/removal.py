# SPDX-License-Identifier: Apache-2.0
"""Removes directories that containers have filled."""

from __future__ import annotations

import errno
import os

from pyoci.errors import PodError, reason

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(parent: int, name: str) -> None:
    """Removes ``name`` below an open directory with its contents, at any depth, if it exists.

    A container decides how deep its directories are nested. So there is no recursion, and no descriptor is kept for
    each level: the entries of a subdirectory are moved to the top, and each directory is moved at most once. Symlinks
    are removed and never followed. Raises PodError.
    """
    try:
        try:
            if _remove_one(parent, name):
                return
        except FileNotFoundError:
            return
        top = os.open(name, _FOLDER, dir_fd=parent)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        where = "" if error.filename in (None, name) else f" {error.filename}:"
        raise PodError(f"remove {name}:{where} {reason(error)}") from error


def _empty(top: int) -> None:
    prefix, count = f".{os.urandom(8).hex()}-", 0
    while names := os.listdir(top):
        for name in names:
            if _remove_one(top, name):
                continue
            below = os.open(name, _FOLDER, dir_fd=top)
            try:
                for inner in os.listdir(below):
                    if not _remove_one(below, inner):
                        count += 1
                        os.rename(inner, f"{prefix}{count}", src_dir_fd=below, dst_dir_fd=top)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=top)


def _remove_one(parent: int, name: str) -> bool:
    """Removes a file or an empty directory. Returns False for a directory that is not empty."""
    try:
        os.unlink(name, dir_fd=parent)
        return True
    except OSError as error:
        # unlink(2) of a directory: EISDIR on Linux, EPERM by POSIX.
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
