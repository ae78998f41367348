# SPDX-License-Identifier: Apache-2.0
"""``pyoci spec``: writes a config.json to start from."""

from __future__ import annotations

import os

from pyoci.cli import flags, output
from pyoci.cli.flags import BOOL, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    ("bundle b", TEXT, "DIR", "directory to write to (default: the current directory)"),
    ("file f", TEXT, "FILE", "name of the file, relative to the bundle (default: config.json)"),
    ("rootless", BOOL, "", "for a user without root privileges"),
)
USAGE = "[flags]"


def run(settings: Settings, parsed: Parsed) -> int:
    """Writes the document. Never overwrites a file."""
    from pyoci.config import default

    flags.words(parsed, "spec")
    path = os.path.join(parsed.text("bundle") or ".", parsed.text("file", "config.json"))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError as error:
        raise UsageError(f"spec: {path} exists; remove it first, or name another with --file") from error
    try:
        output.write(output.pretty(default.config(parsed.flag("rootless"))) + "\n", descriptor)
    finally:
        os.close(descriptor)
    return 0
