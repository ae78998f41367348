# SPDX-License-Identifier: Apache-2.0
"""``pyoci kill``: sends a signal to the first process of a container, or to all of them."""

from __future__ import annotations

from pyoci.cli import flags, shared
from pyoci.cli.flags import BOOL
from pyoci.errors import UsageError
from pyoci.kernel import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    ("all a", BOOL, "", "signal every process in the container's cgroup"),
    ("regex r", BOOL, "", "take ID as a regular expression: act on every container that it matches"),
)
USAGE = "[flags] ID [SIGNAL]"


def run(settings: Settings, parsed: Parsed) -> int:
    """Sends the signal."""
    from pyoci.container.kill import kill

    container_id, *rest = flags.words(parsed, "kill", "ID", "SIGNAL", optional=1)
    signum = _number(rest[0] if rest else "TERM")
    root = settings.root()
    if parsed.flag("regex"):
        shared.each_match(root, container_id, lambda one: kill(root, one, signum, parsed.flag("all")))
    else:
        kill(root, container_id, signum, parsed.flag("all"))
    return 0


def _number(name: str) -> int:
    """Returns the number of a signal. Raises UsageError."""
    number = signals.number(name)
    if number < 0:
        raise UsageError(f"signal {name!r}: unknown (a name such as TERM, or a number from 1 to {signals.SIGRTMAX})")
    return number
