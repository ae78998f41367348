# SPDX-License-Identifier: Apache-2.0
"""Everything that ``create`` does, step by step, as text and JSON. ``pyoci plan`` prints it, and ``--debug`` logs it.

Nothing here is called otherwise. The runtime or init executes a step. The limits of the cgroup are written while init
works (docs/design.md, "The order of create"); everything else is done in the order of these lists.
"""

from __future__ import annotations

from pyoci import protocol, report
from pyoci.plan import ops
from pyoci.plan.operation import hook_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    from pyoci.config.documents import Hook, Seccomp, Syscall
    from pyoci.container.create import Creation
    from pyoci.container.intent import Intent

    class Described(Protocol):
        """What a step does: an operation of the launch plan, a line of the cgroup's plan, or an Action."""

        def describe(self) -> str:
            """Returns one line."""

        def document(self) -> dict[str, Any]:
            """Returns the same for JSON."""


class Action:
    """An action of the runtime itself. what: the arguments, for JSON; text: the same as text; where: the JSON pointer
    of the property that asks for it."""

    __slots__ = ("name", "text", "what", "where")

    def __init__(self, name: str, what: dict[str, Any], where: str = "", text: str = "") -> None:
        self.name = name
        self.what = what
        self.where = where
        self.text = text or " ".join(map(str, what.values()))

    def describe(self) -> str:
        """Returns one line: the action, the arguments, the JSON pointer."""
        line = f"{self.name} {self.text}".rstrip()
        return f"{line}  # {self.where}" if self.where else line

    def document(self) -> dict[str, Any]:
        """Returns the same for JSON."""
        return {"operation": self.name, **self.what, "where": self.where}


class Step:
    """A step: who executes it, and what it does."""

    __slots__ = ("by", "what")

    def __init__(self, by: str, what: Described) -> None:
        self.by = by
        self.what = what

    def describe(self) -> str:
        """Returns one line."""
        return f"{self.by:8} {self.what.describe()}"

    def document(self) -> dict[str, Any]:
        """Returns the same for JSON."""
        return {"by": self.by, **self.what.document()}


def of_create(creation: Creation) -> list[Step]:
    """Returns all steps, from the first to the end of the container's life."""
    intent = creation.intent
    steps = before(creation)
    for operation in intent.launch.operations:
        steps.append(Step("init", operation))
        if isinstance(operation, ops.Sync) and operation.message == protocol.SYNC_MAPS:
            steps += maps(intent)
        elif isinstance(operation, ops.Sync) and operation.message == protocol.SYNC_MOUNTED:
            steps += hooks(intent, "prestart", "createRuntime")
        elif isinstance(operation, ops.Created):
            steps += settling(intent) + saving(creation)
    return steps + hooks(intent, "poststart", "poststop")


def before(creation: Creation) -> list[Step]:
    """Returns what is done before there is a process: the filter, the cgroup, the namespaces to join."""
    intent, group = creation.intent, creation.group
    profile = creation.request.config.seccomp
    steps = _by_runtime(_filter(profile)) if profile else []
    steps += _by_runtime(intent.cgroup.lines(group.path, group.manager))
    return steps + _by_runtime(
        Action("open_namespace", {"type": one.type, "path": one.path}, f"{one.where}/path")
        for one in intent.launch.joined
    )


def maps(intent: Intent) -> list[Step]:
    """Returns the steps that write the ID maps of a new user namespace."""
    rows = [(kind, text.splitlines()) for kind, text in intent.maps]
    return _by_runtime(
        Action(f"{kind}_map", {"rows": lines}, f"/linux/{kind}Mappings", ", ".join(lines)) for kind, lines in rows
    )


def settling(intent: Intent) -> list[Step]:
    """Returns what is set on the complete process from outside."""
    return _by_runtime(intent.launch.outside)


def hooks(intent: Intent, *kinds: str) -> list[Step]:
    """Returns the hooks that the runtime itself runs."""
    return _by_runtime(
        _hook(kind, index, hook) for kind in kinds for index, hook in enumerate(intent.hooks.get(kind, ()))
    )


def saving(creation: Creation) -> list[Step]:
    """Returns the steps that store the state and inform the caller."""
    options, kept = creation.request.options, creation.intent.kept
    found = [Action("save_state", {"state": kept}, text=" ".join(kept))]
    if options.pidfd_socket:
        found.append(Action("send_pidfd", {"path": options.pidfd_socket}))
    if options.pid_file:
        found.append(Action("pid_file", {"path": options.pid_file}))
    return _by_runtime(found)


def tell(steps: Iterable[Step]) -> None:
    """Logs the steps as debug lines."""
    for step in steps:
        report.debug(step.describe())


def _by_runtime(found: Iterable[Described]) -> list[Step]:
    return [Step("runtime", one) for one in found]


def _hook(kind: str, index: int, hook: Hook) -> Action:
    args, env, timeout = hook.get("args") or [hook["path"]], hook.get("env"), 1000 * hook.get("timeout", 0)
    what = {"kind": kind, "path": hook["path"], "args": args, "env": env, "timeout": timeout}
    return Action("hook", what, f"/hooks/{kind}/{index}", f"{kind} {hook_text(hook['path'], args, env, timeout)}")


def _filter(profile: Seccomp) -> list[Action]:
    """Returns the seccomp profile as its actions: for system calls, rule by rule, and for all others."""
    at = "/linux/seccomp"
    found = []
    for index, rule in enumerate(profile.get("syscalls", ())):
        action = _action(rule["action"], rule.get("errnoRet"))
        conditions = _conditions(rule)
        what = {"action": action, "syscalls": rule["names"], "if": conditions}
        text = f"{action} {' '.join(rule['names'])}" + (f" if {' and '.join(conditions)}" if conditions else "")
        found.append(Action("filter", what, f"{at}/syscalls/{index}", text))
    action = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    architectures = profile.get("architectures", [])
    what = {"action": action, "architectures": architectures}
    names = " ".join(name.removeprefix("SCMP_ARCH_").lower() for name in architectures)
    text = f"{action} all others" + (f", also of {names}" if names else "")
    return [*found, Action("filter", what, f"{at}/defaultAction", text)]


def _action(name: str, number: int | None) -> str:
    action = name.removeprefix("SCMP_ACT_").lower()
    return f"{action}({1 if number is None else number})" if action in ("errno", "trace") else action


def _conditions(rule: Syscall) -> list[str]:
    words = {"NE": "!=", "LT": "<", "LE": "<=", "EQ": "==", "GE": ">=", "GT": ">"}
    found = []
    for arg in rule.get("args", ()):
        operator = arg["op"].removeprefix("SCMP_CMP_")
        if operator == "MASKED_EQ":
            found.append(f"arg{arg['index']} & {arg['value']:#x} == {arg.get('valueTwo', 0):#x}")
        else:
            found.append(f"arg{arg['index']} {words.get(operator, operator)} {arg['value']}")
    return found
