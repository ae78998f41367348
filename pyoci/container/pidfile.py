# SPDX-License-Identifier: Apache-2.0
"""The pid file that engines read: decimal, no newline, complete or not there at all."""

from __future__ import annotations

import os

from pyoci.errors import PyociError, reason


def write(path: str, pid: int, about: str) -> None:
    """Writes ``pid`` (as the host sees it) to ``path`` by a temporary file in the same directory and a rename.

    An engine that watches the path sees either no file or the whole number. about: the verb and the container, for the
    message. Raises PyociError.
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
