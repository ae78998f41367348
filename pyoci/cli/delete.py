# SPDX-License-Identifier: Apache-2.0
"""``pyoci delete``: deletes a container that has ended, or any container with ``--force``."""

from __future__ import annotations

from pyoci.cli import flags, shared
from pyoci.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    ("force f", BOOL, "", "kill a running container first; succeed if there is none"),
    ("regex r", BOOL, "", "take ID as a regular expression: act on every container that it matches"),
)
USAGE = "[flags] ID"


def run(settings: Settings, parsed: Parsed) -> int:
    """Deletes the container, or each that matches."""
    from pyoci.container.delete import delete

    (container_id,) = flags.words(parsed, "delete", "ID")
    root = settings.root()

    def act(one: str) -> None:
        delete(root, one, parsed.flag("force"))

    if parsed.flag("regex"):
        shared.each_match(root, container_id, act)
    else:
        act(container_id)
    return 0
