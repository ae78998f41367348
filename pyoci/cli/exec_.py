# SPDX-License-Identifier: Apache-2.0
"""``pyoci exec``: one more program in a container, from a process document or from the command line."""

from __future__ import annotations

from pyoci.cli import options
from pyoci.cli.flags import BOOL, INT, REPEAT, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings
    from pyoci.config.documents import Capabilities, Process, User
    from pyoci.config.process import ProcessConfig
    from pyoci.container.options import ExecOptions
    from pyoci.container.state import State

TABLE: Table = (
    ("process p", TEXT, "FILE", "the process as a JSON document; the flags below change it"),
    ("cwd", TEXT, "DIR", "the working directory in the container"),
    ("env e", REPEAT, "NAME=VALUE", "add to the environment"),
    ("tty t", BOOL, "", "give it a terminal"),
    ("user u", TEXT, "UID[:GID]", "run as this user, and group; numbers only"),
    ("additional-gids g", REPEAT, "GID", "add a group; a number"),
    ("cap c", REPEAT, "CAP", "add a capability to the bounding, effective and permitted sets"),
    ("no-new-privs", BOOL, "", "set no_new_privs"),
    ("process-label", TEXT, "LABEL", "the SELinux label of the process"),
    ("apparmor", TEXT, "PROFILE", "the AppArmor profile of the process"),
    ("detach d", BOOL, "", "leave the process in the background"),
    ("console-socket", TEXT, "PATH", "an AF_UNIX socket that gets the master of the terminal"),
    ("pid-file", TEXT, "FILE", "where to write the process id"),
    ("pidfd-socket", TEXT, "PATH", "an AF_UNIX socket that gets a pidfd of the process"),
    ("preserve-fds", INT, "N", "hand descriptors 3 to 3+N-1 to the process"),
    ("cgroup", REPEAT, "[CONTROLLER:]PATH", "run it in this sub-cgroup, which exists, of the container's"),
    ("ignore-paused", BOOL, "", "even if the container is paused"),
)
USAGE = "[flags] ID COMMAND [ARGUMENT...]   or   exec [flags] --process FILE ID"
STOP_AFTER = 1

# user_namespaces(7), setuid(2): 2^32-1 is "no id"
_ID_MAX = 2**32 - 2


def run(settings: Settings, parsed: Parsed) -> int:
    """Starts the process; waits for it unless detached, and gives its exit status."""
    from pyoci.config import check, load
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
    change(process, parsed)
    return _execute(parsed, state, check.process(process, parsed.text("process", "process")))


def change(process: Process, parsed: Parsed) -> None:
    """Applies the flags to a process document, in place. Raises UsageError for a value that is not allowed."""
    if parsed.given("tty"):
        process["terminal"] = parsed.flag("tty")
    if parsed.given("no-new-privs"):
        process["noNewPrivileges"] = parsed.flag("no-new-privs")
    if parsed.text("cwd") and not parsed.text("cwd").startswith("/"):
        raise UsageError(f"exec: flag --cwd: {parsed.text('cwd')!r} is not an absolute path")
    process["cwd"] = parsed.text("cwd") or process["cwd"]
    if parsed.text("apparmor"):
        process["apparmorProfile"] = parsed.text("apparmor")
    if parsed.text("process-label"):
        process["selinuxLabel"] = parsed.text("process-label")
    if parsed.given("env"):
        process["env"] = _with_variables(process.get("env", []), parsed.all("env"))
    user: User = {**process["user"]}
    if parsed.given("user"):
        uid, colon, gid = parsed.text("user").partition(":")
        user["uid"] = _number(uid, "user")
        if colon:
            user["gid"] = _number(gid, "user")
    if parsed.given("additional-gids"):
        added = [_number(gid, "additional-gids") for gid in parsed.all("additional-gids")]
        user["additionalGids"] = [*user.get("additionalGids", []), *added]
    process["user"] = user
    if parsed.given("cap"):
        process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, parsed.all("cap"))


def _with_variables(old: list[str], added: list[str]) -> list[str]:
    """The environment with more; what is added takes the place of what has its name, for getenv(3) takes the first."""
    new = {line.partition("=")[0]: line for line in added}
    for name, line in new.items():
        if not name or "=" not in line:
            raise UsageError(f"exec: flag --env: {line!r} is not NAME=VALUE")
    return [line for line in old if line.partition("=")[0] not in new] + list(new.values())


def _with_capabilities(sets: Capabilities, added: list[str]) -> Capabilities:
    """The sets with more in bounding, effective and permitted.

    The inheritable set stays as configured: a program with file capabilities would gain what is in it
    (CVE-2022-24769). The ambient set can only hold what is inheritable (capabilities(7)), so it grows by that alone.
    """
    names = ["CAP_" + name.upper().removeprefix("CAP_") for name in added]
    inheritable = sets.get("inheritable", [])
    return {
        **sets,
        "bounding": _union(sets.get("bounding", []), names),
        "effective": _union(sets.get("effective", []), names),
        "permitted": _union(sets.get("permitted", []), names),
        "ambient": _union(sets.get("ambient", []), [name for name in names if name in inheritable]),
    }


def _union(old: list[str], more: list[str]) -> list[str]:
    return [*old, *[name for name in more if name not in old]]


def _number(text: str, flag: str) -> int:
    """A user or group id: digits only, never a name to look up."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _ID_MAX):
        raise UsageError(f"exec: flag --{flag}: {text!r} is no id (a decimal number from 0 to {_ID_MAX})")
    return int(text)


def _cgroups(values: list[str]) -> dict[str, str]:
    """``--cgroup``: controller to path; the empty controller stands for all, and then there is only one."""
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


def _execute(parsed: Parsed, state: State, process: ProcessConfig) -> int:
    """Starts the process; in the foreground waits for it."""
    from pyoci.container.execute import execute

    detach = parsed.flag("detach")
    console = None
    given = _options(parsed)
    if process.terminal and not detach and not given.console_socket:
        from pyoci.container.terminal import Console

        console = Console()
        given.console_fd, given.starting = console.remote, console.receive
    try:
        child = execute(state, process, given)
        if detach:
            return 0
        from pyoci.container.terminal import foreground

        return foreground(child.pidfd, child.pid, console)
    finally:
        if console is not None:
            console.close()


def _options(parsed: Parsed) -> ExecOptions:
    from pyoci.container.options import ExecOptions

    given = ExecOptions()
    options.take_launch(given, parsed)
    given.detach = parsed.flag("detach")
    given.document = parsed.text("process", "process")
    given.cgroups = _cgroups(parsed.all("cgroup"))
    given.ignore_paused = parsed.flag("ignore-paused")
    return given
