# SPDX-License-Identifier: Apache-2.0
"""Verbs of other runtimes that pyoci refuses by name, so far. Their flags are known for the probes of engines.

podman asks ``checkpoint --help`` for exit status 0, and ``restore --lsm-mount-context`` for "requires an argument".
"""

from __future__ import annotations

from pyoci.cli import flags
from pyoci.cli.flags import BOOL, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Table

_BOTH: Table = (
    ("image-path", TEXT, "DIR", "where the image of the container is"),
    ("work-path", TEXT, "DIR", "where criu works and logs"),
    ("tcp-established", BOOL, "", "with open TCP connections"),
    ("ext-unix-sk", BOOL, "", "with external UNIX sockets"),
    ("shell-job", BOOL, "", "with a shell job"),
    ("file-locks", BOOL, "", "with file locks"),
    ("manage-cgroups-mode", TEXT, "MODE", "what criu does with cgroups"),
)
TABLES: dict[str, Table] = {
    "checkpoint": (
        *_BOTH,
        ("leave-running", BOOL, "", "let the container run on"),
        ("pre-dump", BOOL, "", "only the memory, the container runs on"),
        ("parent-path", TEXT, "DIR", "the image of an earlier pre-dump"),
    ),
    "restore": (
        *_BOTH,
        ("bundle b", TEXT, "DIR", "the directory of the bundle"),
        ("pid-file", TEXT, "FILE", "where to write the process id"),
        ("console-socket", TEXT, "PATH", "an AF_UNIX socket that gets the master of the terminal"),
        ("detach d", BOOL, "", "leave the process in the background"),
        ("no-pivot", BOOL, "", "move the root and chroot instead of pivot_root"),
        ("no-new-keyring", BOOL, "", "leave the session keyring of the caller to the container"),
        ("no-subreaper", BOOL, "", "accepted"),
        ("preserve-fds", TEXT, "N", "hand descriptors 3 to 3+N-1 to the process"),
        ("tcp-close", BOOL, "", "close TCP connections"),
        ("lsm-profile", TEXT, "TYPE:NAME", "the LSM profile of the processes"),
        ("lsm-mount-context", TEXT, "LABEL", "the LSM label of the mounts"),
    ),
}


def run(verb: str, args: list[str]) -> int:
    """Help is given and a missing value named, as for any verb; then the verb is refused. Raises UsageError."""
    table = TABLES.get(verb)
    if table is not None and flags.parse(table, args, verb).flag("help"):
        from pyoci.cli.help import show_verb

        return show_verb(verb, "[flags] ID", "not supported yet", table)
    raise UsageError(f"{verb}: not supported yet by this version of pyoci")
