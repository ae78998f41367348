# SPDX-License-Identifier: Apache-2.0
"""``pyoci pod``: runs pods from Kubernetes manifests, without an engine."""

from __future__ import annotations

from pyoci import report
from pyoci.cli import flags, output
from pyoci.cli.flags import BOOL, INT, TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings
    from pyoci.pod.containers import Containers
    from pyoci.pod.directory import Directory
    from pyoci.pod.state import Event

TABLE: Table = ()
STOP_AFTER = 1

_FORMAT = ("format f", TEXT, "FORMAT", "table (default) or json")
_FORCE = ("force f", BOOL, "", "remove a pod that runs, or whose supervisor died, too")

COMMANDS: dict[str, tuple[str, str, Table]] = {
    "run": (
        "[flags] MANIFEST",
        "run the pod of a v1 Pod manifest until it ends, or in the background with -d",
        (
            ("detach d", BOOL, "", "return as soon as its containers have started"),
            ("name", TEXT, "NAME", "name of the pod (default: from the manifest)"),
            ("wait", INT, "SECONDS", "with -d: how long to wait for the start (default: 60)"),
            ("quiet q", BOOL, "", "in the foreground: show the output of the containers, but no events"),
            (
                "restart-backoff",
                TEXT,
                "SECONDS",
                "delay before the second restart, doubled each time (default: 10)",
            ),
        ),
    ),
    "ps": ("[flags]", "list pods", (_FORMAT,)),
    "inspect": ("[flags] NAME", "show namespaces, network, containers and events of a pod", (_FORMAT,)),
    "logs": (
        "[flags] NAME [CONTAINER]",
        "print the output of the containers of a pod",
        (
            ("follow f", BOOL, "", "continue until the pod ends"),
            ("timestamps t", BOOL, "", "print the time of each line"),
        ),
    ),
    "stop": (
        "[flags] NAME",
        "stop a pod: TERM in reverse order, KILL after the grace period, the sandbox last",
        (("time t", INT, "SECONDS", "grace period (default: from the manifest)"),),
    ),
    "rm": ("[flags] NAME", "remove a pod that has ended, with its volumes, logs and state", (_FORCE,)),
}


_LINES = [f"  {name:<9}{summary}" for name, (_, summary, _) in COMMANDS.items()]
USAGE = "\n".join(
    ["COMMAND [flags] [arguments]", "", *_LINES, "", "'pyoci pod COMMAND --help' shows the flags of a command."]
)


def run(settings: Settings, parsed: Parsed) -> int:
    """Runs one command."""
    if not parsed.words:
        raise UsageError(f"pod: a command is missing: one of {', '.join(COMMANDS)}")
    command, rest = parsed.words[0], parsed.words[1:]
    if command not in COMMANDS:
        raise UsageError(f"pod: unknown command {command!r}: not one of {', '.join(COMMANDS)}")
    own = flags.parse(COMMANDS[command][2], rest, f"pod {command}")
    if own.flag("help"):
        return _help(command)
    status: int = _RUN[command](settings, own)
    return status


def _run(settings: Settings, parsed: Parsed) -> int:
    from pyoci.pod import commands

    (path,) = flags.words(parsed, "pod run", "MANIFEST")
    runtime, name, backoff = _runtime(settings), parsed.text("name"), _seconds(parsed, "restart-backoff", 10.0)
    if parsed.flag("detach"):
        name, up = commands.run_detached(runtime, path, name, backoff, parsed.number("wait", 60))
        output.write(f"{name}\n")
        if not up:
            report.warn(f"pod {name}: not all of its containers have started yet; it continues in the background")
        return 0
    from pyoci.cli.pod_output import View

    return commands.run(runtime, path, name, backoff, View(quiet=parsed.flag("quiet")))


def _ps(settings: Settings, parsed: Parsed) -> int:
    from time import time

    from pyoci.cli import pod_tables
    from pyoci.pod import commands

    flags.words(parsed, "pod ps")
    states = commands.states(settings.root_path)
    output.write(output.pretty(states) + "\n" if _json(parsed, "ps") else pod_tables.pods(states, time()))
    return 0


def _inspect(settings: Settings, parsed: Parsed) -> int:
    from pyoci.cli import pod_tables
    from pyoci.pod import inspection

    (name,) = flags.words(parsed, "pod inspect", "NAME")
    json = _json(parsed, "inspect")
    state = inspection.inspect(_runtime(settings), _directory(settings, name))
    output.write(output.pretty(state) + "\n" if json else pod_tables.inspection(state))
    return 0


def _logs(settings: Settings, parsed: Parsed) -> int:
    from pyoci.cli.pod_output import log_lines
    from pyoci.pod import commands

    name, *container = flags.words(parsed, "pod logs", "NAME", "CONTAINER", optional=1)
    one = container[0] if container else ""
    try:
        for batch in commands.logs(_directory(settings, name), one, parsed.flag("follow")):
            output.write(log_lines(batch, bool(one), parsed.flag("timestamps")))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the reader has seen enough
    return 0


def _stop(settings: Settings, parsed: Parsed) -> int:
    from pyoci.cli import pod_tables
    from pyoci.pod import commands

    def tell(event: Event) -> None:
        output.write(pod_tables.event_line(event, None, 12))

    (name,) = flags.words(parsed, "pod stop", "NAME")
    commands.stop(_directory(settings, name), parsed.number("time") if parsed.given("time") else None, tell)
    return 0


def _rm(settings: Settings, parsed: Parsed) -> int:
    from pyoci.pod import commands

    (name,) = flags.words(parsed, "pod rm", "NAME")
    commands.remove(_runtime(settings), _directory(settings, name), parsed.flag("force"))
    return 0


_RUN = {"run": _run, "ps": _ps, "inspect": _inspect, "logs": _logs, "stop": _stop, "rm": _rm}


def _runtime(settings: Settings) -> Containers:
    from pyoci.pod.containers import Containers

    return Containers(settings.root(), settings.cgroup_manager)


def _directory(settings: Settings, name: str) -> Directory:
    from pyoci.pod.directory import Directory

    return Directory(settings.root_path, name)


def _json(parsed: Parsed, command: str) -> bool:
    form = parsed.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"pod {command}: flag --format: {form!r} is neither table nor json")
    return form == "json"


def _seconds(parsed: Parsed, name: str, default: float) -> float:
    text = parsed.text(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise UsageError(f"pod run: flag --{name}: {text!r} is not a number of seconds from 0 to 86400")
    return value


def _help(command: str) -> int:
    """Prints the help of one command. Returns 0."""
    from pyoci.cli.help import show_verb

    usage, summary, table = COMMANDS[command]
    return show_verb(f"pod {command}", usage, summary, table)
