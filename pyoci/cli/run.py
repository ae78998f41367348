# SPDX-License-Identifier: Apache-2.0
"""``pyoci run``: creates and starts a container; in the foreground, waits for it and deletes it."""

from __future__ import annotations

from pyoci.cli import flags, shared
from pyoci.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    *shared.CREATE,
    ("detach d", BOOL, "", "return as soon as the program runs"),
    ("keep", BOOL, "", "keep the container when its program has ended"),
)
USAGE = "[flags] ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Runs the container. Returns the exit status of its process, or 0 if it is detached."""
    from pyoci.container import run as container

    (container_id,) = flags.words(parsed, "run", "ID")
    given = shared.create_options(settings, parsed)
    bundle = shared.bundle(parsed)
    return container.run(
        settings.root(), container_id, bundle, given, detach=parsed.flag("detach"), keep=parsed.flag("keep")
    )
