# SPDX-License-Identifier: Apache-2.0
"""All that ``create`` or ``exec`` will do, decided before any of it is done. Pure: a document and facts go in.

``create``, ``run``, ``exec`` and ``pyoci plan`` decide by these functions and by no others.
"""

from __future__ import annotations

from pyoci.errors import SpecError
from pyoci.kernel.namespaces import NEWPID, NEWUSER
from pyoci.plan.order import create_plan, exec_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pyoci.cgroup import Cgroup
    from pyoci.config.documents import Config, Hook, IdMapping, Process, Resources
    from pyoci.container.options import CreateOptions, ExecOptions
    from pyoci.plan.facts import Facts
    from pyoci.plan.order import LaunchPlan

EARLY_HOOKS = ("prestart", "createRuntime", "createContainer")  # they run before the root is pivoted
LATER_HOOKS = ("startContainer", "poststart", "poststop")  # what later verbs must know of


class Intent:
    """What will be done.

    launch: init's operations, and how it is cloned; hooks: kind → list, of all kinds that have any; maps: (``gid`` or
    ``uid``, the text of its map) in the order of writing, none without a new user namespace; oom_score: or None;
    resources: ``linux.resources``; kept: what is written to the state, but for what only the clone tells.
    """

    __slots__ = ("hooks", "kept", "launch", "maps", "oom_score", "resources")

    def __init__(self, launch: LaunchPlan, process: Process) -> None:
        self.launch = launch
        self.oom_score: int | None = process.get("oomScoreAdj")
        self.hooks: dict[str, list[Hook]] = {}
        self.maps: list[tuple[str, str]] = []
        self.resources: Resources = {}
        self.kept: dict[str, Any] = {}

    def has_hooks(self, *kinds: str) -> bool:
        """Whether there is a hook of one of these kinds."""
        return any(kind in self.hooks for kind in kinds)


def to_create(config: Config, facts: Facts, group: Cgroup) -> Intent:
    """What ``create`` will do. Raises SpecError."""
    linux = config.get("linux") or {}
    intent = Intent(create_plan(config, facts), config["process"])
    given: Mapping[str, Any] = config.get("hooks") or {}
    intent.hooks = {kind: hooks for kind, hooks in given.items() if hooks}
    intent.resources = linux.get("resources") or {}
    namespaces = intent.launch.namespaces
    if namespaces and namespaces.clone_flags & NEWUSER:
        intent.maps = [("gid", _map(linux.get("gidMappings", ()))), ("uid", _map(linux.get("uidMappings", ())))]
    intent.kept = {
        "bundle": facts.bundle,
        "rootfs": facts.rootfs,
        "annotations": config.get("annotations") or {},
        "cgroup": group.state(),
        "namespaces": [entry["type"] for entry in linux.get("namespaces") or ()],
        "shares_pid": int(not namespaces or not namespaces.new & NEWPID),
        "process": config["process"],
        "hooks": {kind: intent.hooks[kind] for kind in LATER_HOOKS if kind in intent.hooks},
        "seccomp": facts.seccomp[1] if facts.seccomp else -1,
        "keyring": facts.keyring,
    }
    return intent


def to_execute(process: Process, namespaces: list[str], facts: Facts) -> Intent:
    """What ``exec`` will do with a process document, in a container that has these namespaces of its own."""
    return Intent(exec_plan(process, namespaces, facts), process)


def check_create(config: Config, options: CreateOptions) -> None:
    """What a document and flags that are right by themselves may get wrong together. Raises SpecError."""
    process = config.get("process")
    if process is None:
        raise SpecError("/process", "missing; a container needs a process to create")
    has_socket = bool(options.console_socket) or options.console_fd >= 0
    if process.get("terminal") and not has_socket:
        raise SpecError("/process/terminal", "a terminal needs somebody to take it", True, "give --console-socket")
    if has_socket and not process.get("terminal"):
        raise SpecError("/process/terminal", "--console-socket is given, but no terminal is asked for", False)


def check_execute(process: Process, options: ExecOptions) -> None:
    """The same for ``exec``. Raises SpecError."""
    if process.get("terminal"):
        if not options.console_socket and options.console_fd < 0:
            hint = "give --console-socket"
            raise SpecError("/terminal", "a terminal needs somebody to take it", True, hint, options.document)
    elif options.console_socket:
        words = "--console-socket is given, but no terminal is asked for"
        raise SpecError("/terminal", words, False, document=options.document)


def _map(entries: Sequence[IdMapping]) -> str:
    """The text of a uid or gid map (user_namespaces(7))."""
    return "".join(f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in entries)
