# SPDX-License-Identifier: Apache-2.0
"""Warnings and debug lines, from any room to the log.

Every room may import this module, and it imports nothing. The command line sets the listener (``cli/log.py``), which
decides where a line goes. Without a listener, lines are dropped.

A debug line must cost nothing if it is not wanted, so the caller tests before it formats::

    if report.debugging:
        report.debug(f"create {container_id}: {len(plan.operations)} operations")
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Listener = Callable[[str, str], None]

ERROR = "error"
WARNING = "warning"
DEBUG = "debug"

debugging = False  # whether debug lines are wanted; set by listen()
_listener: Listener | None = None


def listen(listener: Listener | None, debug: bool = False) -> None:
    """Sets the function that gets lines, as ``listener(level, text)``. debug: whether it wants debug lines."""
    global _listener, debugging
    _listener = listener
    debugging = debug


def warn(text: str) -> None:
    """Warns of something that is wrong but does not stop the verb. The text has the form of an error message."""
    if _listener is not None:
        _listener(WARNING, text)


def debug(text: str) -> None:
    """Says what has just been done. Call it only if ``debugging`` is true."""
    if _listener is not None:
        _listener(DEBUG, text)
