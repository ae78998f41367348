# SPDX-License-Identifier: Apache-2.0
"""``pyoci resume``: lets the processes of a paused container go on."""

from __future__ import annotations

from pyoci.cli import flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = ()
USAGE = "ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Thaws the container."""
    from pyoci.container.pause import resume

    (container_id,) = flags.words(parsed, "resume", "ID")
    resume(settings.root(), container_id)
    return 0
