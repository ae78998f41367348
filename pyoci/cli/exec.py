# SPDX-License-Identifier: Apache-2.0
"""``pyoci exec``: runs another program in a container, from a process document or a command line."""

from __future__ import annotations

from pyoci.cli import exec_process, shared
from pyoci.cli.flags import BOOL, INT, REPEAT, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings
    from pyoci.container.options import ExecOptions

TABLE: Table = (
    ("process p", TEXT, "FILE", "the process as a JSON document; the other flags change it"),
    ("cwd", TEXT, "DIR", "working directory in the container"),
    ("env e", REPEAT, "NAME=VALUE", "set a variable"),
    ("tty t", BOOL, "", "allocate a terminal"),
    ("user u", TEXT, "UID[:GID]", "user, and group, as numbers"),
    ("additional-gids g", REPEAT, "GID", "additional group, as a number"),
    ("cap c", REPEAT, "CAP", "add a capability to the bounding, effective and permitted sets"),
    ("no-new-privs", BOOL, "", "set no_new_privs"),
    ("process-label", TEXT, "LABEL", "SELinux label of the process"),
    ("apparmor", TEXT, "PROFILE", "AppArmor profile of the process"),
    ("detach d", BOOL, "", "return as soon as the program runs"),
    ("console-socket", TEXT, "PATH", "AF_UNIX socket that receives the master of the terminal"),
    ("pid-file", TEXT, "FILE", "file to write the process ID to"),
    ("pidfd-socket", TEXT, "PATH", "AF_UNIX socket that receives a pidfd of the process"),
    ("preserve-fds", INT, "N", "pass descriptors 3 to 3+N-1 to the process"),
    ("cgroup", REPEAT, "[CONTROLLER:]PATH", "run in this existing cgroup below the container's"),
    ("ignore-paused", BOOL, "", "run also in a paused container"),
)
USAGE = "[flags] ID COMMAND [ARGUMENT...]   or   exec [flags] --process FILE ID"
STOP_AFTER = 1


def run(settings: Settings, parsed: Parsed) -> int:
    """Starts the process. Returns its exit status, or 0 if it is detached."""
    from pyoci.config import check, load
    from pyoci.container import execute
    from pyoci.container.state import State

    if not parsed.words:
        raise UsageError("exec: ID is missing; try 'pyoci exec --help'")
    container_id, *command = parsed.words
    root = settings.root()
    if parsed.given("process"):
        if command:
            raise UsageError("exec: a command line and --process exclude each other")
        process = load.process(parsed.text("process"))
        state = State.load(root, container_id)
    else:
        command = command[1:] if command[:1] == ["--"] else command
        if not command:
            raise UsageError("exec: the command is missing; try 'pyoci exec --help'")
        state = State.load(root, container_id)
        process = state.process
        process["args"] = command
        process["terminal"] = False
    exec_process.change(process, parsed)
    return execute.run(state, check.process(process, parsed.text("process", "process")), _options(parsed))


def _cgroups(values: list[str]) -> dict[str, str]:
    """Returns the paths of ``--cgroup`` by controller. "" stands for all controllers, and is then the only key."""
    paths: dict[str, str] = {}
    for value in values:
        controllers, colon, path = value.partition(":")
        if not colon:
            controllers, path = "", value
            if len(values) > 1:
                raise UsageError(f"exec: flag --cgroup: {value!r} has no controller, so it can only be given alone")
        for controller in controllers.split(","):
            if colon and not controller:
                raise UsageError(f"exec: flag --cgroup: {value!r} names an empty controller")
            if controller in paths:
                raise UsageError(f"exec: flag --cgroup: controller {controller} is given twice")
            paths[controller] = path
    return paths


def _options(parsed: Parsed) -> ExecOptions:
    from pyoci.container.options import ExecOptions

    given = ExecOptions()
    shared.take_launch(given, parsed)
    given.detach = parsed.flag("detach")
    given.cgroups = _cgroups(parsed.all("cgroup"))
    given.ignore_paused = parsed.flag("ignore-paused")
    return given
