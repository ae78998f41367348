# SPDX-License-Identifier: Apache-2.0
"""``process`` of config.json or of exec, normalised: each fact once, numbers instead of names, defaults filled in."""

from __future__ import annotations

from pyoci.kernel import capabilities
from pyoci.kernel.process import IOPRIO_CLASSES, RLIMIT_NUMBERS, SCHEDULER_FLAGS, SCHEDULERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.config.documents import Capabilities, IoPriority, Process, Rlimit, Scheduler, User

DEFAULT_UMASK = 0o022
_NONE: Capabilities = {}
_ROOT: User = {"uid": 0}


class ProcessConfig:
    """A process.

    document: what it was made from, for the state; name: the document's name in messages; at: the JSON pointer of the
    process in it; env: NAME → NAME=VALUE, where the last one counts; rows, columns: 0 for an unknown size;
    oom_score_adj: None to leave it; io_priority: the value for ioprio_set(2), or None.
    """

    __slots__ = (
        "args",
        "at",
        "capabilities",
        "columns",
        "cwd",
        "document",
        "env",
        "gid",
        "groups",
        "io_priority",
        "name",
        "no_new_privileges",
        "oom_score_adj",
        "rlimits",
        "rows",
        "scheduler",
        "terminal",
        "uid",
        "umask",
    )

    def __init__(self, document: Process, name: str, at: str = "") -> None:
        self.document = document
        self.name = name
        self.at = at
        user = document.get("user", _ROOT)
        self.uid = user["uid"]
        self.gid = user.get("gid", 0)
        self.umask = user.get("umask", DEFAULT_UMASK)
        self.groups = user.get("additionalGids", [])
        self.args = document.get("args", [])
        self.cwd = document["cwd"]
        self.env = {line.partition("=")[0]: line for line in document.get("env", ())}
        if self.env.get("HOME") == "HOME=":
            del self.env["HOME"]  # empty means absent, as in runc: init then looks it up
        self.terminal = document.get("terminal", False)
        size = document.get("consoleSize")  # ignored without a terminal
        self.rows, self.columns = (size["height"], size["width"]) if size and self.terminal else (0, 0)
        self.capabilities = CapabilitySets(document.get("capabilities", _NONE))
        self.no_new_privileges = document.get("noNewPrivileges", False)
        self.oom_score_adj = document.get("oomScoreAdj")
        self.rlimits = [Limit(limit, f"{at}/rlimits/{i}") for i, limit in enumerate(document.get("rlimits", ()))]
        scheduler, priority = document.get("scheduler"), document.get("ioPriority")
        self.scheduler = SchedulerConfig(scheduler) if scheduler else None
        self.io_priority = _io_priority(priority) if priority else None


class CapabilitySets:
    """Capability sets as masks (capabilities(7)), and the names that were left out.

    unknown: names that this version does not know; not_inheritable: ambient ones that the kernel would refuse, because
    they are not also permitted and inheritable. Both are left out of the masks, as in runc; the specification demands a
    warning.
    """

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "not_inheritable", "permitted", "unknown")

    def __init__(self, sets: Capabilities) -> None:
        self.unknown: dict[str, None] = {}
        self.bounding = self._mask(sets.get("bounding", ()))
        self.effective = self._mask(sets.get("effective", ()))
        self.permitted = self._mask(sets.get("permitted", ()))
        self.inheritable = self._mask(sets.get("inheritable", ()))
        asked = self._mask(sets.get("ambient", ()))
        self.ambient = asked & self.permitted & self.inheritable
        self.not_inheritable = capabilities.names(asked & ~self.ambient)

    def _mask(self, names: Iterable[str]) -> int:
        bits = 0
        for name in names:
            bit = capabilities.BITS.get(name)
            if bit is None:
                self.unknown[name] = None
            else:
                bits |= bit
        return bits


class Limit:
    """A resource limit: the kernel's number and the specification's name of the resource (getrlimit(2))."""

    __slots__ = ("hard", "name", "number", "soft", "where")

    def __init__(self, limit: Rlimit, where: str) -> None:
        self.name = limit["type"]
        self.number = RLIMIT_NUMBERS[self.name]
        self.soft = limit["soft"]
        self.hard = limit["hard"]
        self.where = where


class SchedulerConfig:
    """The arguments of sched_setattr(2), 0 if not given. name: of the policy."""

    __slots__ = ("deadline", "flags", "name", "nice", "period", "policy", "priority", "runtime")

    def __init__(self, scheduler: Scheduler) -> None:
        self.name = scheduler["policy"]
        self.policy = SCHEDULERS[self.name]
        self.nice = scheduler.get("nice", 0)
        self.priority = scheduler.get("priority", 0)
        self.runtime = scheduler.get("runtime", 0)
        self.deadline = scheduler.get("deadline", 0)
        self.period = scheduler.get("period", 0)
        self.flags = 0
        for name in scheduler.get("flags", ()):
            self.flags |= SCHEDULER_FLAGS[name]


def _io_priority(priority: IoPriority) -> int:
    return IOPRIO_CLASSES[priority["class"]] << 13 | priority.get("priority", 0)
