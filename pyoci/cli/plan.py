# SPDX-License-Identifier: Apache-2.0
"""``pyoci plan``: prints what ``create`` would do with a bundle, without doing it."""

from __future__ import annotations

import os

from pyoci.cli import flags, output, shared
from pyoci.cli.flags import TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    *shared.CREATE,
    ("id", TEXT, "ID", "ID of the planned container (default: CONTAINER)"),
    ("format", TEXT, "FORMAT", "text (default) or json"),
)
USAGE = "[flags] [BUNDLE]"


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints all that create would do. Refuses what create refuses, in the same words. Has no effect."""
    from pyoci.config import load
    from pyoci.container.create import Creation
    from pyoci.container.options import Request
    from pyoci.container.steps import of_create

    words = flags.words(parsed, "plan", "BUNDLE", optional=1)
    form = parsed.text("format", "text")
    if form not in ("text", "json"):
        raise UsageError(f"plan: flag --format: {form!r} is neither text nor json")
    bundle = os.path.abspath(words[0]) if words else shared.bundle(parsed)
    given = shared.create_options(settings, parsed)
    given.keep_filter = False
    creation = Creation(Request(parsed.text("id", "CONTAINER"), bundle, given, load.config(bundle, given.config)))
    creation.check()
    steps = of_create(creation)
    if form == "json":
        output.write(output.pretty([step.document() for step in steps]) + "\n")
    else:
        output.write("".join(f"{output.one_line(step.describe())}\n" for step in steps))
    return 0
