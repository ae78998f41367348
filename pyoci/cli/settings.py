# SPDX-License-Identifier: Apache-2.0
"""The global flags."""

from __future__ import annotations

import os

from pyoci.cli.flags import BOOL, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed
    from pyoci.container.paths import Root

TABLE = (
    ("root", TEXT, "DIR", "directory of the container states (default: /run/pyoci, or $XDG_RUNTIME_DIR/pyoci)"),
    ("log", TEXT, "TARGET", "where to log: a file, file:PATH, journald:ID or syslog:ID; errors go to stderr too"),
    ("log-format", TEXT, "FORMAT", "text (default) or json"),
    ("log-level", TEXT, "LEVEL", "what to log: error, warning (default) or debug, each with those before it"),
    ("debug", BOOL, "", "log each step with its time; the same as --log-level debug"),
    ("systemd-cgroup", BOOL, "", "the same as --cgroup-manager systemd"),
    ("cgroup-manager", TEXT, "MANAGER", "cgroupfs (default), systemd or disabled"),
    ("rootless", TEXT, "VALUE", "true, false or auto (default: by the user ID)"),
    ("criu", TEXT, "PATH", "accepted for older callers, and ignored"),
    ("version v", BOOL, "", "print the version"),
)
CGROUP_MANAGERS = ("cgroupfs", "systemd", "disabled")


class Settings:
    """The global flags, checked. Raises UsageError."""

    __slots__ = ("cgroup_manager", "root_path")

    def __init__(self, parsed: Parsed) -> None:
        self.cgroup_manager = "systemd" if parsed.flag("systemd-cgroup") else "cgroupfs"
        # podman passes both flags for a container without a cgroup: the more explicit one counts
        self.cgroup_manager = parsed.text("cgroup-manager", self.cgroup_manager)
        if self.cgroup_manager not in CGROUP_MANAGERS:
            raise UsageError(f"flag --cgroup-manager: {self.cgroup_manager!r} is none of {', '.join(CGROUP_MANAGERS)}")
        rootless = parsed.text("rootless", "auto").lower()
        if rootless not in ("true", "false", "auto"):
            raise UsageError(f"flag --rootless: {rootless!r} is none of true, false, auto")
        self.root_path = os.path.abspath(parsed.text("root") or _default_root(rootless))

    def root(self) -> Root:
        """Returns the state root, not created yet."""
        from pyoci.container.paths import Root

        return Root(self.root_path)


def _default_root(rootless: str) -> str:
    """Returns ``/run/pyoci`` for root, and a directory in $XDG_RUNTIME_DIR (XDG Base Directory Specification) else."""
    if rootless == "false" or (rootless == "auto" and os.geteuid() == 0):
        return "/run/pyoci"
    return (os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") + "/pyoci"
