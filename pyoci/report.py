# SPDX-License-Identifier: Apache-2.0
"""What pyoci tells beside its result and its error: warnings, and with ``--debug`` what it does.

Every room may import this module; it imports nothing. The command line sets the listener (``cli/log.py``), which
decides where a line goes. Without a listener nothing is told.

A debug line costs nothing when nobody asked for it, so the caller tests first and formats after::

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
    """Sends what is told from here on to ``listener(level, text)``. debug: whether it wants debug lines."""
    global _listener, debugging
    _listener = listener
    debugging = debug


def warn(text: str) -> None:
    """Tells the user of something that is wrong but does not stop the verb, in the form of an error's line."""
    if _listener is not None:
        _listener(WARNING, text)


def debug(text: str) -> None:
    """Tells what has just been done. Call it only if ``debugging`` is true."""
    if _listener is not None:
        _listener(DEBUG, text)
