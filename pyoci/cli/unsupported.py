# SPDX-License-Identifier: Apache-2.0
"""Verbs of other runtimes that pyoci refuses by name. Their flags are known, because engines probe for them.

Podman expects ``checkpoint --help`` to exit with 0, and ``restore --lsm-mount-context`` to say "requires an argument".
"""

from __future__ import annotations

from pyoci.cli import flags
from pyoci.cli.flags import BOOL, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Table

_BOTH: Table = (
    ("image-path", TEXT, "DIR", "directory of the image of the container"),
    ("work-path", TEXT, "DIR", "directory in which criu works and logs"),
    ("tcp-established", BOOL, "", "include open TCP connections"),
    ("ext-unix-sk", BOOL, "", "include external UNIX sockets"),
    ("shell-job", BOOL, "", "allow a shell job"),
    ("file-locks", BOOL, "", "include file locks"),
    ("manage-cgroups-mode", TEXT, "MODE", "what criu does with cgroups"),
)
TABLES: dict[str, Table] = {
    "checkpoint": (
        *_BOTH,
        ("leave-running", BOOL, "", "keep the container running"),
        ("pre-dump", BOOL, "", "dump only the memory; the container keeps running"),
        ("parent-path", TEXT, "DIR", "directory of an earlier pre-dump"),
    ),
    "restore": (
        *_BOTH,
        ("bundle b", TEXT, "DIR", "directory of the bundle"),
        ("pid-file", TEXT, "FILE", "file to write the process ID to"),
        ("console-socket", TEXT, "PATH", "AF_UNIX socket that receives the master of the terminal"),
        ("detach d", BOOL, "", "return as soon as the program runs"),
        ("no-pivot", BOOL, "", "use chroot instead of pivot_root"),
        ("no-new-keyring", BOOL, "", "keep the session keyring of the caller"),
        ("no-subreaper", BOOL, "", "accepted"),
        ("preserve-fds", TEXT, "N", "pass descriptors 3 to 3+N-1 to the process"),
        ("tcp-close", BOOL, "", "close TCP connections"),
        ("lsm-profile", TEXT, "TYPE:NAME", "the LSM profile of the processes"),
        ("lsm-mount-context", TEXT, "LABEL", "the LSM label of the mounts"),
    ),
}


def run(verb: str, args: list[str]) -> int:
    """Prints the help, or raises UsageError: for faults in the flags, as with any verb, else because of the verb."""
    table = TABLES.get(verb)
    if table is not None and flags.parse(table, args, verb).flag("help"):
        from pyoci.cli.help import show_verb

        return show_verb(verb, "[flags] ID", "not supported yet", table)
    raise UsageError(f"{verb}: not supported yet by this version of pyoci")
