# SPDX-License-Identifier: Apache-2.0
"""``pyoci list``: lists the containers of a state root."""

from __future__ import annotations

from pyoci import jsontext, report
from pyoci.cli import flags, output
from pyoci.cli.flags import BOOL, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    ("format f", TEXT, "FORMAT", "table (default) or json"),
    ("quiet q", BOOL, "", "print only the IDs"),
)
USAGE = "[flags]"

# The columns, and the keys of the state that they show. Scripts for runc expect this layout.
_COLUMNS = (
    ("ID", "id"),
    ("PID", "pid"),
    ("STATUS", "status"),
    ("BUNDLE", "bundle"),
    ("CREATED", "created"),
    ("OWNER", "owner"),
)
_WIDTH = 12
_GAP = 3


def run(settings: Settings, parsed: Parsed) -> int:
    """Prints the containers. Warns of a state that cannot be read, and lists the others."""
    from pyoci.container import listing

    flags.words(parsed, "list")
    form = parsed.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"list: flag --format: {form!r} is neither table nor json")
    states, warnings = listing.containers(settings.root())
    for warning in warnings:
        report.warn(warning)
    documents = [state.document() for state in states]
    if parsed.flag("quiet"):
        output.write("".join(f"{document['id']}\n" for document in documents))
    elif form == "json":
        output.write(jsontext.dumps(documents) + "\n")
    else:
        rows = [[name for name, _ in _COLUMNS]]
        rows += [[output.one_line(str(document.get(key, ""))) for _, key in _COLUMNS] for document in documents]
        output.write(_table(rows))
    return 0


def _table(rows: list[list[str]]) -> str:
    """Returns the rows as text, with the columns aligned on the left."""
    widths = [max(_WIDTH, max(len(cell) for cell in column) + _GAP) for column in zip(*rows, strict=True)]
    lines = ["".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"
