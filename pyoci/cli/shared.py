# SPDX-License-Identifier: Apache-2.0
"""What several verbs share: the flags of ``create`` and ``run``, their options, and ``--regex``."""

from __future__ import annotations

import os

from pyoci.cli.flags import BOOL, INT, TEXT
from pyoci.errors import PyociError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings
    from pyoci.container.options import CreateOptions, LaunchOptions
    from pyoci.container.paths import Root

CREATE: Table = (
    ("bundle b", TEXT, "DIR", "directory of the bundle (default: the current directory)"),
    ("config f", TEXT, "FILE", "configuration file, relative to the bundle (default: config.json)"),
    ("console-socket", TEXT, "PATH", "AF_UNIX socket that receives the master of the terminal"),
    ("pid-file", TEXT, "FILE", "file to write the process ID to"),
    ("pidfd-socket", TEXT, "PATH", "AF_UNIX socket that receives a pidfd of the process"),
    ("no-pivot", BOOL, "", "use chroot instead of pivot_root, for a root on a ramdisk"),
    ("no-new-keyring", BOOL, "", "keep the session keyring of the caller"),
    ("no-subreaper", BOOL, "", "accepted: pyoci never becomes a subreaper"),
    ("preserve-fds", INT, "N", "pass descriptors 3 to 3+N-1 to the process"),
)

# Far above what callers pass.
PRESERVED_MAX = 65536


def absolute(path: str) -> str:
    """Returns the absolute path, seen from the current directory; "" for ""."""
    return os.path.abspath(path) if path else ""


def preserved(parsed: Parsed) -> tuple[int, list[str]]:
    """Returns how many descriptors from 3 on the process gets, and the variables that describe them.

    Sockets from a service manager (sd_listen_fds(3): LISTEN_PID is our PID) are added to ``--preserve-fds``. Inside the
    container LISTEN_PID is 1. Raises UsageError.
    """
    count = parsed.number("preserve-fds")
    extra: list[str] = []
    listen = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and listen.isascii() and listen.isdigit():
        extra = [f"LISTEN_FDS={listen}", "LISTEN_PID=1"]
        names = os.environ.get("LISTEN_FDNAMES")
        if names is not None:
            extra.append(f"LISTEN_FDNAMES={names}")
        count += int(listen)
    if count > PRESERVED_MAX:
        raise UsageError(
            f"flag --preserve-fds: {count} descriptors, with those of LISTEN_FDS, are more than {PRESERVED_MAX}"
        )
    return _without_trailing_holes(count), extra


def _without_trailing_holes(count: int) -> int:
    """Returns how many of ``count`` descriptors from 3 on to pass, without holes at the end.

    init's own descriptors follow the preserved ones, so holes at the end would only require a higher RLIMIT_NOFILE.
    """
    if not count:
        return 0
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return max((number for number in numbers if 3 <= number < 3 + count and _given(number)), default=2) - 2


def _given(number: int) -> bool:
    """Returns whether the caller passed this descriptor. Our own descriptors are close-on-exec."""
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def create_options(settings: Settings, parsed: Parsed) -> CreateOptions:
    """Returns the options of ``create`` from its flags."""
    from pyoci.container.options import CreateOptions

    given = CreateOptions()
    take_launch(given, parsed)
    given.config = parsed.text("config", "config.json")
    given.no_pivot = parsed.flag("no-pivot")
    given.no_new_keyring = parsed.flag("no-new-keyring")
    given.cgroup_manager = settings.cgroup_manager
    return given


def take_launch(given: LaunchOptions, parsed: Parsed) -> None:
    """Sets the options that ``create`` and ``exec`` share."""
    given.pid_file = absolute(parsed.text("pid-file"))
    given.pidfd_socket = absolute(parsed.text("pidfd-socket"))
    given.console_socket = absolute(parsed.text("console-socket"))
    given.preserve_fds, given.extra_env = preserved(parsed)


def bundle(parsed: Parsed) -> str:
    """Returns the bundle's absolute path."""
    return os.path.abspath(parsed.text("bundle") or ".")


def each_match(root: Root, pattern: str, act: Callable[[str], object]) -> None:
    """Calls ``act`` for every container whose ID the regular expression ``pattern`` matches anywhere.

    A failure does not keep the others from their turn. Raises PyociError, which names every failure, and UsageError.
    """
    import re

    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}") from error
    failures = []
    for container_id in root.ids():
        if expression.search(container_id):
            try:
                act(container_id)
            except (PyociError, OSError) as error:
                failures.append(error)
    if failures:
        raise PyociError("; ".join(map(str, failures))) from failures[0]
