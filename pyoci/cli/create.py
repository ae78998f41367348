# SPDX-License-Identifier: Apache-2.0
"""``pyoci create``: creates a container without running its program."""

from __future__ import annotations

from pyoci.cli import flags, shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = shared.CREATE
USAGE = "[flags] ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Creates the container."""
    from pyoci.container.create import create

    (container_id,) = flags.words(parsed, "create", "ID")
    create(settings.root(), container_id, shared.bundle(parsed), shared.create_options(settings, parsed))
    return 0
