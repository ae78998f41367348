# SPDX-License-Identifier: Apache-2.0
"""The pid file that engines read: decimal, no newline, complete or not there at all."""

from __future__ import annotations

import os


def write(path: str, pid: int) -> None:
    """Writes ``pid`` (as the host sees it) to ``path`` by a temporary file in the same directory and a rename.

    An engine that watches the path sees either no file or the whole number. Raises OSError with the path.
    """
    directory, name = os.path.split(os.path.abspath(path))
    temporary = f"{directory}/.{name}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            os.write(descriptor, b"%d" % pid)
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{directory}/{name}")
    except BaseException:
        os.unlink(temporary)
        raise
