# SPDX-License-Identifier: Apache-2.0
"""``pyoci state``: prints the state of a container, as the runtime specification defines it."""

from __future__ import annotations

from pyoci.cli import flags, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = ()
USAGE = "ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints the state."""
    from pyoci.container.state import State

    (container_id,) = flags.words(parsed, "state", "ID")
    output.write(output.pretty(State.load(settings.root(), container_id).document()) + "\n")
    return 0
