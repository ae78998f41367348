# SPDX-License-Identifier: Apache-2.0
"""``pyoci start``: runs the program of a created container."""

from __future__ import annotations

from pyoci.cli import flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = ()
USAGE = "ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Starts the container's program."""
    from pyoci.container.start import start

    (container_id,) = flags.words(parsed, "start", "ID")
    start(settings.root(), container_id)
    return 0
