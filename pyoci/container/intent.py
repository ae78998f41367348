# SPDX-License-Identifier: Apache-2.0
"""Decides everything that ``create`` or ``exec`` will do, before anything is done. Pure functions of configuration and
facts.

``create``, ``run``, ``exec`` and ``pyoci plan`` all use these functions.
"""

from __future__ import annotations

from pyoci.cgroup import CgroupPlan, owner
from pyoci.errors import SpecError
from pyoci.kernel.namespaces import NEWPID, NEWUSER
from pyoci.plan.order import create_plan, exec_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyoci.cgroup import Cgroup
    from pyoci.config.documents import Hook, IdMapping
    from pyoci.config.normal import ContainerConfig
    from pyoci.config.process import ProcessConfig
    from pyoci.container.options import LaunchOptions
    from pyoci.plan.facts import Facts
    from pyoci.plan.order import LaunchPlan

EARLY_HOOKS = ("prestart", "createRuntime", "createContainer")  # run before pivot_root
LATER_HOOKS = ("startContainer", "poststart", "poststop")  # needed by later verbs


class Intent:
    """What will be done.

    launch: init's operations, and how it is cloned; hooks: kind → list, of all kinds with hooks; maps: (``gid`` or
    ``uid``, the text of its map) in the order of writing, empty without a new user namespace; cgroup: what ``create``
    does to the cgroup; kept: what is written to the state, except what only the clone determines.
    """

    __slots__ = ("cgroup", "hooks", "kept", "launch", "maps")

    def __init__(self, launch: LaunchPlan) -> None:
        self.launch = launch
        self.hooks: dict[str, list[Hook]] = {}
        self.maps: list[tuple[str, str]] = []
        self.cgroup = CgroupPlan()
        self.kept: dict[str, Any] = {}

    def has_hooks(self, *kinds: str) -> bool:
        """Returns whether there is a hook of one of these kinds."""
        return any(kind in self.hooks for kind in kinds)


def to_create(config: ContainerConfig, facts: Facts, group: Cgroup) -> Intent:
    """Returns what ``create`` will do. Raises SpecError."""
    intent = Intent(create_plan(config, facts))
    intent.hooks = config.hooks
    intent.cgroup = group.plan(config.resources, owner(config))
    if config.namespaces.new & NEWUSER:
        intent.maps = [("gid", _map(config.gid_mappings)), ("uid", _map(config.uid_mappings))]
    intent.kept = {
        "bundle": facts.bundle,
        "rootfs": facts.rootfs,
        "annotations": config.annotations,
        "cgroup": group.state(config.resources),
        "namespaces": config.namespaces.types,
        "shares_pid": int(not config.namespaces.new & NEWPID),
        "process": config.process.document,
        "hooks": {kind: intent.hooks[kind] for kind in LATER_HOOKS if kind in intent.hooks},
        "seccomp": facts.seccomp[1] if facts.seccomp else -1,
        "keyring": facts.keyring,
        "personality": -1 if config.personality is None else config.personality,
    }
    return intent


def to_execute(process: ProcessConfig, namespaces: list[str], facts: Facts) -> Intent:
    """Returns what ``exec`` will do with a process, in a container that has these namespaces of its own."""
    return Intent(exec_plan(process, namespaces, facts))


def check_terminal(process: ProcessConfig, options: LaunchOptions) -> None:
    """Checks a document and flags that are valid by themselves, but may not fit together. Raises SpecError."""
    has_socket = bool(options.console_socket) or options.console_fd >= 0
    at = f"{process.at}/terminal"
    if process.terminal and not has_socket:
        hint = "give --console-socket"
        raise SpecError(at, "a terminal needs somebody to take it", True, hint, process.name)
    if has_socket and not process.terminal:
        words = "--console-socket is given, but no terminal is asked for"
        raise SpecError(at, words, False, document=process.name)


def _map(entries: Sequence[IdMapping]) -> str:
    """Returns the text of a uid or gid map (user_namespaces(7))."""
    return "".join(f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in entries)
