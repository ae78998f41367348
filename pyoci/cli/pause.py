# SPDX-License-Identifier: Apache-2.0
"""``pyoci pause``: freezes all processes of a container."""

from __future__ import annotations

from pyoci.cli import flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = ()
USAGE = "ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Freezes the container."""
    from pyoci.container.pause import pause

    (container_id,) = flags.words(parsed, "pause", "ID")
    pause(settings.root(), container_id)
    return 0
