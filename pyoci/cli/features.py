# SPDX-License-Identifier: Apache-2.0
"""``pyoci features``: prints what this runtime supports (features.md of the runtime specification)."""

from __future__ import annotations

from pyoci.cli import flags, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = ()
USAGE = ""


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints the document."""
    from pyoci.config import features

    flags.words(parsed, "features")
    output.write(output.pretty(features.document()) + "\n")
    return 0
