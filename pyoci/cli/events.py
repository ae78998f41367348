# SPDX-License-Identifier: Apache-2.0
"""``pyoci events``: prints what a container uses and when it runs out of memory, one JSON object a line."""

from __future__ import annotations

from pyoci import jsontext
from pyoci.cli import flags, output
from pyoci.cli.flags import BOOL, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    ("stats", BOOL, "", "print the statistics once, and end"),
    ("interval", TEXT, "TIME", "time between two statistics, such as 500ms or 1m30s (default: 5s)"),
)
USAGE = "[flags] ID"

# The units of Go's durations, which callers of runc write.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints the events until the container ends, or once."""
    from pyoci.container import events

    (container_id,) = flags.words(parsed, "events", "ID")
    interval = _seconds(parsed.text("interval", "5s"))
    try:
        if parsed.flag("stats"):
            _print(events.statistics(settings.root(), container_id))
        else:
            events.follow(settings.root(), container_id, interval, _print)
    except BrokenPipeError:
        pass  # the reader has seen enough
    return 0


def _print(event: dict[str, object]) -> None:
    output.write(jsontext.dumps(event) + "\n")


def _seconds(text: str) -> float:
    """Returns a duration in seconds. Raises UsageError if it is none, or not greater than 0."""
    total, rest = 0.0, text.strip()
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("nuµμmsh"))
        unit, rest = rest[:letters], rest[letters:]
        if unit not in _UNITS or number.count(".") > 1 or not number.strip("."):
            raise UsageError(f"events: flag --interval: {text!r} is no time; give one such as 500ms, 5s or 1m30s")
        total += float(number) * _UNITS[unit]
    if total <= 0:
        raise UsageError(f"events: flag --interval: {text!r} is not greater than 0")
    return total
