# SPDX-License-Identifier: Apache-2.0
"""``pyoci plan``: prints what ``create`` would do with a bundle, without doing it."""

from __future__ import annotations

import os

from pyoci.cli import flags, output, shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = shared.CREATE
USAGE = "[flags] [BUNDLE]"

_ID = "CONTAINER"  # stands for the id, which a plan does not have


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints the operations of the plan, one a line, each with the property that asked for it."""
    from pyoci.config import load
    from pyoci.container.create import Creation
    from pyoci.container.options import Request

    words = flags.words(parsed, "plan", "BUNDLE", optional=1)
    bundle = os.path.abspath(words[0]) if words else shared.bundle(parsed)
    given = shared.create_options(settings, parsed)
    given.keep_filter = False
    plan = Creation(Request(_ID, bundle, given, load.config(bundle, given.config))).intent.launch
    lines = [operation.describe() for operation in plan.operations]
    complete = next(i for i, line in enumerate(lines) if line.startswith("created"))
    lines[complete:complete] = [f"outside: {operation.describe()}" for operation in plan.outside]
    output.write("".join(f"{output.one_line(line)}\n" for line in lines))
    return 0
