# SPDX-License-Identifier: Apache-2.0
"""Writes the pid file that engines read: decimal, without a newline, complete or absent."""

from __future__ import annotations

import os

from pyoci.errors import PyociError, reason


def write(path: str, pid: int, about: str) -> None:
    """Writes ``pid`` (on the host) to ``path``, with a temporary file in the same directory and a rename.

    An engine that watches the path sees no file or the whole number. about: verb and container, for messages. Raises
    PyociError.
    """
    try:
        _replace(*os.path.split(os.path.abspath(path)), b"%d" % pid)
    except OSError as error:
        why = reason(error, missing="its directory is missing")
        raise PyociError(f"{about}: write the pid file {path}: {why}") from error


def _replace(directory: str, name: str, data: bytes) -> None:
    temporary = f"{directory}/.{name}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{directory}/{name}")
    except BaseException:
        os.unlink(temporary)
        raise
