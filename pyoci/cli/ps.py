# SPDX-License-Identifier: Apache-2.0
"""``pyoci ps``: shows the processes of a container."""

from __future__ import annotations

from pyoci import jsontext
from pyoci.cli import output
from pyoci.cli.flags import TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (("format f", TEXT, "FORMAT", "table (default): the lines of ps(1); or json: a list of PIDs"),)
USAGE = "[flags] ID [ARGUMENT OF ps...]"
STOP_AFTER = 1


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints the processes."""
    from pyoci.container import ps

    if not parsed.words:
        raise UsageError("ps: ID is missing; try 'pyoci ps --help'")
    form = parsed.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"ps: flag --format: {form!r} is neither table nor json")
    container_id, *args = parsed.words
    pids = ps.processes(settings.root(), container_id)
    if form == "json":
        output.write(jsontext.dumps(pids) + "\n")
    else:
        # Names of programs are the container's choice. What ps(1) leaves as it is must not be a command to a terminal.
        lines = ps.table(pids, args).splitlines()
        output.write("".join(f"{output.one_line(line)}\n" for line in lines))
    return 0
